//! TLS handshakes, on threads that decide no check.
//!
//! A handshake with an RSA key takes about a millisecond of CPU time, and whoever connects can ask for
//! as many as it likes. On the threads of the workers each of them would hold up all checks of that
//! worker. So connections shake hands here, and go to their workers when they are done.
//!
//! ```text
//! accepted -> Lobby: at most so many at a time, of one address and in all -> handshake -> its worker
//! ```
//!
//! A flood delays the handshakes of others, within their deadline, and no check: the threads are few, and
//! the system divides the processors between threads. Those of one address wait for each other
//! first, so the other addresses wait less.

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

use super::Tls;
use crate::{
    shares::CallerKey,
    socket::{Loose, Movable, on_this_runtime},
};

/// The most handshakes at a time.
const MOST: usize = 1_024;

/// The most handshakes of one address at a time.
const MOST_OF_ADDRESS: usize = 64;

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
        let lobby = Arc::new(Lobby::new(MOST, MOST_OF_ADDRESS));
        let mut threads = Vec::new();
        for number in 0..workers.get().div_ceil(4) {
            let (enter, entering) = mpsc::channel(MAX_WAITING);
            threads.push(enter);
            let hall = Hall {
                tls: Arc::clone(tls),
                lobby: Arc::clone(&lobby),
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
    lobby: Arc<Lobby>,
    entering: mpsc::Receiver<Entering>,
}

impl Hall {
    async fn serve(&mut self) {
        let mut shaking = JoinSet::new();
        loop {
            tokio::select! {
                entering = self.entering.recv() => {
                    let Some((stream, address, deadline, onward)) = entering else { break };
                    let (tls, lobby) = (Arc::clone(&self.tls), Arc::clone(&self.lobby));
                    shaking.spawn(async move {
                        match timeout_at(deadline, shake(&tls, &lobby, stream, address)).await {
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
    lobby: &Arc<Lobby>,
    stream: Loose,
    address: CallerKey,
) -> io::Result<Shaken> {
    let _place = lobby.enter(address).await.map_err(io::Error::other)?;
    let mut shaken = tls.accept(Movable::Here(on_this_runtime(stream)?)).await?;
    shaken.get_mut().0.leave()?;
    Ok(Box::new(shaken))
}

/// Has so many places in all, and for each address.
#[derive(Debug)]
struct Lobby {
    places: Arc<Semaphore>,
    of_address: usize,
    /// Those that somebody has a place of, or waits for one.
    addresses: Mutex<HashMap<CallerKey, Arc<Semaphore>>>,
}

/// A place, or somebody who waits for one.
struct Place {
    lobby: Arc<Lobby>,
    address: CallerKey,
    of_address: Option<OwnedSemaphorePermit>,
    of_all: Option<OwnedSemaphorePermit>,
}

impl Lobby {
    fn new(places: usize, of_address: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            of_address,
            addresses: Mutex::default(),
        }
    }

    /// Waits for a place.
    async fn enter(self: &Arc<Self>, address: CallerKey) -> Result<Place, AcquireError> {
        let mut place = Place {
            lobby: Arc::clone(self),
            address,
            of_address: None,
            of_all: None,
        };
        let of_address = {
            let mut addresses = self.addresses();
            let of_address = addresses.entry(place.address);
            let new = || Arc::new(Semaphore::new(self.of_address));
            Arc::clone(of_address.or_insert_with(new))
        };
        // In this order, so that who waits for others of its address keeps nobody else waiting.
        place.of_address = Some(of_address.acquire_owned().await?);
        place.of_all = Some(Arc::clone(&self.places).acquire_owned().await?);
        Ok(place)
    }

    /// No update is ever left half done by a panic, so a poisoned lock is as good as any.
    fn addresses(&self) -> MutexGuard<'_, HashMap<CallerKey, Arc<Semaphore>>> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop((self.of_address.take(), self.of_all.take()));
        let mut addresses = self.lobby.addresses();
        if let Some(known) = addresses.get(&self.address)
            && Arc::strong_count(known) == 1
        {
            addresses.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests;
