//! A TCP proxy that does to connections what networks do.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// It goes where it should.
    #[default]
    None,
    /// Connections are accepted, and nothing ever comes back.
    BlackHole,
    /// Connections are accepted, and bytes come back that no protocol knows.
    Garbage,
    /// Connections are closed.
    Refuse,
}

/// A proxy on an address that stays the same, whatever lies behind it. Ends with this value.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _accepting: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    target: Mutex<SocketAddr>,
    /// A change of it cuts what goes where it should.
    fault: watch::Sender<Fault>,
    accepted: AtomicUsize,
    open: AtomicUsize,
}

impl FaultProxy {
    /// A proxy for `target` on a free port of `127.0.0.1`.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        Self::start_on("127.0.0.1:0".parse()?, target).await
    }

    /// A proxy for `target` on `address`.
    pub async fn start_on(address: SocketAddr, target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            fault: watch::Sender::default(),
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            _accepting: accepting,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that were accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Sends new connections to `target`.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.shared.target() = target;
    }

    /// From now on `fault` is what happens, also to connections that are there. Those that go
    /// where they should are stalled by a black hole, and cut by any other change.
    pub fn inject(&self, fault: Fault) {
        self.shared.fault.send_replace(fault);
    }
}

impl Shared {
    fn target(&self) -> std::sync::MutexGuard<'_, SocketAddr> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        shared.accepted.fetch_add(1, Ordering::SeqCst);
        shared.open.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            serve(near, &shared).await;
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
        while connections.try_join_next().is_some() {}
    }
}

/// One connection, from fault to fault. However it ends, it is closed.
async fn serve(mut near: TcpStream, shared: &Shared) {
    let mut fault = shared.fault.subscribe();
    let now = *fault.borrow_and_update();
    match now {
        Fault::Refuse => {}
        Fault::BlackHole => swallow(&mut near, &mut fault).await,
        Fault::Garbage => {
            let _ = near.write_all(&[0xAA; 4_096]).await;
            swallow(&mut near, &mut fault).await;
        }
        Fault::None => {
            let target = *shared.target();
            let Ok(mut far) = TcpStream::connect(target).await else {
                return;
            };
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => return,
                _ = fault.changed() => {}
            }
            if *fault.borrow() == Fault::BlackHole {
                swallow(&mut near, &mut fault).await;
            }
        }
    }
}

/// Reads and answers nothing, until the fault changes or the other side gives up.
async fn swallow(near: &mut TcpStream, fault: &mut watch::Receiver<Fault>) {
    let read = async {
        let mut bytes = [0; 4_096];
        while near.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    };
    tokio::select! {
        () = read => {}
        _ = fault.changed() => {}
    }
}
