//! TLS handshakes, on threads that decide no check.
//!
//! A handshake with an RSA key takes about a millisecond of CPU time, and whoever connects can ask for
//! as many as it likes. On the threads of the workers each of them would hold up all checks of that
//! worker. So connections shake hands here, and go to their workers when they are done.
//!
//! ```text
//! accepted -> says hello -> Turns: one address after the other -> is answered -> the rest -> its worker
//!             (waits)       (a millisecond of a processor)        (waits)
//! ```
//!
//! A connection has its turn only while it is worked on, and never while it is waited for. So connections
//! that are silent, before or after their hello, keep nobody waiting; `connections.maxPerCaller` and
//! `connections.max` bound them. A flood of hellos delays the handshakes of others, within their deadline, and no
//! check: the threads are few, and the system divides the processors between threads. Addresses take
//! turns, so another address waits for one handshake of each, however many there are.

use std::{
    collections::HashMap,
    io,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::{
    runtime,
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use toolgate_tasks::Tasks;

use super::{Tls, hello};
use crate::{
    shares::CallerKey,
    socket::{Loose, Movable, on_this_runtime},
};

/// The most connections that wait for a thread to look at them. More are closed.
const MAX_WAITING: usize = 1_024;

/// A connection that has shaken hands.
pub(crate) type Shaken = Box<TlsStream<Movable>>;

/// Takes a connection that has shaken hands to its worker. Dropping it gives up its place there.
pub(crate) type Onward = Box<dyn FnOnce(Shaken, Instant) + Send>;

/// A connection, its address, when its handshake and its preface must be over, and where it goes.
type Entering = (Loose, CallerKey, Instant, Onward);

/// The threads. They end when they are dropped.
#[derive(Debug)]
pub(crate) struct Handshakes {
    threads: Vec<mpsc::Sender<Entering>>,
    next: usize,
    timeout: Duration,
}

impl Handshakes {
    /// Starts a thread for each four of `workers`, until `closing`. They are among `tasks`.
    pub(crate) fn start(
        tls: &Arc<Tls>,
        workers: NonZeroUsize,
        timeout: Duration,
        closing: &CancellationToken,
        tasks: &Tasks,
    ) -> io::Result<Self> {
        let count = workers.get().div_ceil(4);
        let turns = Arc::new(Turns::new(count));
        let mut threads = Vec::new();
        for number in 0..count {
            let (enter, entering) = mpsc::channel(MAX_WAITING);
            threads.push(enter);
            let hall = Hall {
                tls: Arc::clone(tls),
                turns: Arc::clone(&turns),
                entering,
            };
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let (tasks, closing) = (tasks.clone(), closing.clone());
            let work = move || {
                tasks.run("handshakes", hall, |hall| {
                    runtime.block_on(closing.run_until_cancelled(hall.serve()));
                });
            };
            let thread = thread::Builder::new().name(format!("handshakes-{number}"));
            thread.spawn(work)?;
        }
        Ok(Self {
            threads,
            next: 0,
            timeout,
        })
    }

    /// Shakes hands on `stream`, and then takes it `onward`, unless it fails or takes too long. False:
    /// too many wait, and it is closed.
    pub(crate) fn enter(&mut self, stream: Loose, address: CallerKey, onward: Onward) -> bool {
        let deadline = Instant::now() + self.timeout;
        self.next = (self.next + 1) % self.threads.len();
        let entering = (stream, address, deadline, onward);
        self.threads[self.next].try_send(entering).is_ok()
    }
}

/// What a thread works on.
struct Hall {
    tls: Arc<Tls>,
    turns: Arc<Turns>,
    entering: mpsc::Receiver<Entering>,
}

impl Hall {
    async fn serve(&mut self) {
        let mut shaking = JoinSet::new();
        loop {
            tokio::select! {
                entering = self.entering.recv() => {
                    let Some((stream, address, deadline, onward)) = entering else { break };
                    #[cfg(test)]
                    tests::strike(address);
                    let (tls, turns) = (Arc::clone(&self.tls), Arc::clone(&self.turns));
                    shaking.spawn(async move {
                        match timeout_at(deadline, shake(&tls, &turns, stream, address)).await {
                            Ok(Ok(stream)) => onward(stream, deadline),
                            // Not louder: strangers could fill the log.
                            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake has failed"),
                            Err(_) => tracing::debug!("a TLS handshake took too long"),
                        }
                    });
                }
                Some(ended) = shaking.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a TLS handshake has panicked");
                    }
                }
            }
        }
    }
}

async fn shake(
    tls: &Tls,
    turns: &Arc<Turns>,
    stream: Loose,
    address: CallerKey,
) -> io::Result<Shaken> {
    let hello = hello(Movable::Here(on_this_runtime(stream)?)).await?;
    let accept = {
        let _turn = turns.wait(address).await.map_err(io::Error::other)?;
        tls.answer(hello)
    };
    let mut shaken = accept.await?;
    shaken.get_mut().0.leave()?;
    Ok(Box::new(shaken))
}

/// Who is worked on: so many at a time, and one of each address.
#[derive(Debug)]
struct Turns {
    of_all: Arc<Semaphore>,
    /// Those that somebody has the turn of, or waits for it.
    addresses: Mutex<HashMap<CallerKey, Arc<Semaphore>>>,
}

/// A turn, or somebody who waits for one.
struct Turn {
    among: Arc<Turns>,
    address: CallerKey,
    of_address: Option<OwnedSemaphorePermit>,
    of_all: Option<OwnedSemaphorePermit>,
}

impl Turns {
    fn new(at_a_time: usize) -> Self {
        Self {
            of_all: Arc::new(Semaphore::new(at_a_time)),
            addresses: Mutex::default(),
        }
    }

    /// Waits for a turn of `address`.
    async fn wait(self: &Arc<Self>, address: CallerKey) -> Result<Turn, AcquireError> {
        let mut turn = Turn {
            among: Arc::clone(self),
            address,
            of_address: None,
            of_all: None,
        };
        let of_address = {
            let mut addresses = self.addresses();
            let of_address = addresses.entry(turn.address);
            Arc::clone(of_address.or_insert_with(|| Arc::new(Semaphore::new(1))))
        };
        // In this order, so that an address waits once among the others, and they take turns.
        turn.of_address = Some(of_address.acquire_owned().await?);
        turn.of_all = Some(Arc::clone(&self.of_all).acquire_owned().await?);
        Ok(turn)
    }

    /// No update is ever left half done by a panic, so a poisoned lock is as good as any.
    fn addresses(&self) -> MutexGuard<'_, HashMap<CallerKey, Arc<Semaphore>>> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop((self.of_address.take(), self.of_all.take()));
        let mut addresses = self.among.addresses();
        if let Some(known) = addresses.get(&self.address)
            && Arc::strong_count(known) == 1
        {
            addresses.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests;
