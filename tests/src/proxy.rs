//! A proxy that does to connections what networks do.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinSet,
};

mod pump;

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// It goes where it should.
    #[default]
    None,
    /// It comes so much later, in both directions.
    Delay(Duration),
    /// No more than so many bytes a second come through, in each direction.
    Throttle(u32),
    /// What comes back has a wrong byte in each piece.
    Corrupt,
    /// What is sent arrives, and what comes back is lost.
    NoReplies,
    /// Requests of more than so many bytes are lost, as where a tunnel takes smaller packets and
    /// nobody says so.
    LargeRequests(usize),
    /// Connections are accepted, and nothing ever comes back.
    BlackHole,
    /// Connections are accepted, and bytes come back that no protocol knows.
    Garbage,
    /// Connections are closed.
    Refuse,
    /// Connections are reset, as by a host that knows nothing of them.
    Reset,
}

/// Where a proxy leads.
#[derive(Clone, Debug)]
pub enum Target {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<PathBuf> for Target {
    fn from(path: PathBuf) -> Self {
        Self::Unix(path)
    }
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
    target: Mutex<Target>,
    fault: watch::Sender<Fault>,
    accepted: AtomicUsize,
    open: AtomicUsize,
}

impl FaultProxy {
    /// A proxy for `target` on a free port of `127.0.0.1`.
    pub async fn start(target: impl Into<Target>) -> Result<Self> {
        Self::start_on("127.0.0.1:0".parse()?, target).await
    }

    /// A proxy for `target` on `address`.
    pub async fn start_on(address: SocketAddr, target: impl Into<Target>) -> Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target: Mutex::new(target.into()),
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
    pub fn lead_to(&self, target: impl Into<Target>) {
        *self.shared.target() = target.into();
    }

    /// From now on `fault` is what happens, also to connections that are there. Those that are
    /// slow, corrupted or without replies go on when it is over; those that have lost more are cut.
    pub fn inject(&self, fault: Fault) {
        self.shared.fault.send_replace(fault);
    }
}

impl Shared {
    fn target(&self) -> std::sync::MutexGuard<'_, Target> {
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
    let _ = near.set_nodelay(true);
    let now = *fault.borrow_and_update();
    if now == Fault::Garbage {
        let _ = near.write_all(&[0xAA; 4_096]).await;
    }
    if !connects(now) {
        return end(near, &mut fault).await;
    }
    let target = shared.target().clone();
    match target {
        Target::Tcp(address) => {
            if let Ok(far) = TcpStream::connect(address).await {
                let _ = far.set_nodelay(true);
                between(near, far, &mut fault).await;
            }
        }
        Target::Unix(path) => {
            if let Ok(far) = UnixStream::connect(path).await {
                between(near, far, &mut fault).await;
            }
        }
    }
}

/// Whether a connection leads to its target under `fault`.
const fn connects(fault: Fault) -> bool {
    use Fault::{Corrupt, Delay, LargeRequests, NoReplies, None, Throttle};
    matches!(
        fault,
        None | Delay(_) | Throttle(_) | Corrupt | NoReplies | LargeRequests(_)
    )
}

/// Carries bytes until either side closes, or a fault cuts the connection.
async fn between(
    mut near: TcpStream,
    far: impl AsyncRead + AsyncWrite + Unpin,
    fault: &mut watch::Receiver<Fault>,
) {
    let (far_read, far_write) = tokio::io::split(far);
    {
        let (near_read, near_write) = near.split();
        let (there, back) = (fault.clone(), fault.clone());
        tokio::select! {
            () = pump::requests(near_read, far_write, there) => return,
            () = pump::replies(far_read, near_write, back) => return,
            _ = fault.wait_for(|fault| !connects(*fault)) => {}
        }
    }
    end(near, fault).await;
}

/// A connection that leads nowhere under the current fault, until that changes.
async fn end(mut near: TcpStream, fault: &mut watch::Receiver<Fault>) {
    let now = *fault.borrow_and_update();
    match now {
        Fault::BlackHole | Fault::Garbage => {
            tokio::select! {
                () = pump::swallow(&mut near) => {}
                _ = fault.changed() => {}
            }
        }
        Fault::Reset => {
            // Closing then sends RST, not FIN.
            let _ = near.set_zero_linger();
        }
        _ => {}
    }
}
