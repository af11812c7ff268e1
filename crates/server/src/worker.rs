//! The threads that serve gRPC.
//!
//! Each is a runtime of its own, and a connection stays with the one that it was given to, so what a
//! check touches is touched by one thread only. On a runtime that moves work between threads the
//! same call costs about twice the CPU time (docs/adr/006).
//!
//! ```text
//! accept, on the caller's runtime -> the worker with the fewest connections -> connection.rs
//!                                    `- with TLS: tls/handshakes.rs -'
//! ```

use std::{
    num::NonZeroUsize,
    sync::{Arc, Weak},
    thread,
};

use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::{
    runtime,
    sync::{mpsc, oneshot},
    task::{JoinError, JoinSet},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use toolgate_net::Acceptor;

use crate::{
    ServerError,
    closed::Why,
    connection::{Accepted, Connections},
    shares::{self as caller, CallerKey, CallerShares},
    socket::{Loose, off_this_runtime},
    tls::Handshakes,
};

/// The most connections that wait for a worker to take them. More are closed.
const MAX_WAITING: usize = 1_024;

/// The workers. Dropping them ends their threads, whatever they are at.
pub(crate) struct Workers {
    seats: Vec<Seat>,
    /// The most connections of all workers.
    max_connections: usize,
    shares: Arc<CallerShares>,
    /// With TLS.
    handshakes: Option<Handshakes>,
    ended: FuturesUnordered<oneshot::Receiver<Result<(), ServerError>>>,
    _kill: DropGuard,
}

/// A connection, its place with the worker, and that of its caller.
type Seated = (Accepted, Arc<()>, caller::Seat);

/// Where one worker's connections go.
struct Seat {
    connections: mpsc::Sender<Seated>,
    /// Held by each of the connections, so that they can be counted.
    occupied: Arc<()>,
}

impl Workers {
    /// Starts `count` threads. Each serves what `build` makes on its own runtime until `closing`,
    /// and then until its connections have ended.
    pub(crate) fn start(
        count: NonZeroUsize,
        max_connections: usize,
        shares: Arc<CallerShares>,
        handshakes: Option<Handshakes>,
        build: impl Fn() -> Result<Connections, ServerError> + Clone + Send + 'static,
        closing: &CancellationToken,
    ) -> Result<Self, ServerError> {
        let kill = CancellationToken::new();
        let (mut seats, ended) = (Vec::new(), FuturesUnordered::new());
        for number in 0..count.get() {
            let (connections, accepted) = mpsc::channel(MAX_WAITING);
            let (end, end_seen) = oneshot::channel();
            let serve = serve(build.clone(), accepted, closing.clone());
            let serve = kill.clone().run_until_cancelled_owned(serve);
            // Before connections are taken, which could take the last file that a runtime needs.
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(ServerError::Thread)?;
            let work = move || {
                let outcome = runtime.block_on(async { serve.await.unwrap_or(Ok(())) });
                // What is still running was given up by whoever waited for the workers.
                runtime.shutdown_background();
                // Nobody listens any more if the workers were dropped.
                let _ = end.send(outcome);
            };
            let thread = thread::Builder::new().name(format!("worker-{number}"));
            thread.spawn(work).map_err(ServerError::Thread)?;
            let occupied = Arc::default();
            seats.push(Seat {
                connections,
                occupied,
            });
            ended.push(end_seen);
        }
        Ok(Self {
            seats,
            max_connections,
            shares,
            handshakes,
            ended,
            _kill: kill.drop_guard(),
        })
    }

    /// Of each worker what all of its connections hold, and the worker too.
    pub(crate) fn connections(&self) -> Vec<Weak<()>> {
        let seats = self.seats.iter();
        seats.map(|seat| Arc::downgrade(&seat.occupied)).collect()
    }

    /// Hands out the connections of `acceptor` until `closing`; then waits for the workers.
    pub(crate) async fn serve(
        mut self,
        mut acceptor: Acceptor,
        closing: CancellationToken,
    ) -> Result<(), ServerError> {
        loop {
            tokio::select! {
                () = closing.cancelled() => break,
                stream = acceptor.accept() => match off_this_runtime(stream) {
                    Ok(stream) => self.seat(stream),
                    Err(error) => tracing::debug!(%error, "a connection was lost"),
                },
                Some(ended) = self.ended.next() => end(ended)?,
            }
        }
        drop(acceptor);
        while let Some(ended) = self.ended.next().await {
            end(ended)?;
        }
        Ok(())
    }

    /// Gives a connection to the worker that has the fewest.
    fn seat(&mut self, stream: Loose) {
        let taken: usize = self.seats.iter().map(Seat::taken).sum();
        if taken >= self.max_connections {
            self.shares.closed().count(Why::Full);
            return;
        }
        let fewest = self.seats.iter().min_by_key(|seat| seat.taken());
        let Some(seat) = fewest else { return };
        let Some(caller) = CallerKey::of(&stream) else {
            return;
        };
        let Some(of_caller) = self.shares.seat(caller) else {
            return;
        };
        let (connections, place) = (seat.connections.clone(), Arc::clone(&seat.occupied));
        let shares = Arc::clone(&self.shares);
        let take = move |accepted| {
            if connections.try_send((accepted, place, of_caller)).is_err() {
                shares.closed().count(Why::Waiting);
            }
        };
        let Some(handshakes) = &mut self.handshakes else {
            return take(Accepted::Plain(stream));
        };
        let onward = |stream, deadline| take(Accepted::Shaken(stream, deadline));
        if !handshakes.enter(stream, caller, Box::new(onward)) {
            self.shares.closed().count(Why::Waiting);
        }
    }
}

impl Seat {
    fn taken(&self) -> usize {
        Arc::strong_count(&self.occupied) - 1
    }
}

/// An outcome that never came is that of a thread which has panicked.
fn end(
    ended: Result<Result<(), ServerError>, oneshot::error::RecvError>,
) -> Result<(), ServerError> {
    ended.unwrap_or(Err(ServerError::Worker))
}

async fn serve(
    build: impl Fn() -> Result<Connections, ServerError>,
    mut accepted: mpsc::Receiver<Seated>,
    closing: CancellationToken,
) -> Result<(), ServerError> {
    let connections = Arc::new(build()?);
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            () = closing.cancelled() => break,
            Some(ended) = open.join_next() => log_panic(ended),
            accepted = accepted.recv() => {
                let Some((stream, occupied, seat)) = accepted else { break };
                let connections = Arc::clone(&connections);
                open.spawn(async move {
                    connections.serve(stream, seat).await;
                    drop(occupied);
                });
            }
        }
    }
    drop(accepted);
    while let Some(ended) = open.join_next().await {
        log_panic(ended);
    }
    Ok(())
}

/// A connection that panics has ended alone.
fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection has failed");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use tokio_util::either::Either;

    use super::*;
    use crate::ConnectionSettings;

    fn shares() -> Arc<CallerShares> {
        let bounds = ConnectionSettings::default().into_bounds(1);
        CallerShares::new(bounds.expect("bounds"), 1)
    }

    #[test]
    fn a_connection_goes_to_the_worker_with_the_fewest() {
        let seat = || {
            let (connections, accepted) = mpsc::channel(10);
            let occupied = Arc::default();
            let seat = Seat {
                connections,
                occupied,
            };
            (seat, accepted)
        };
        let ((a, mut at_a), (b, mut at_b)) = (seat(), seat());
        let mut workers = Workers {
            seats: vec![a, b],
            max_connections: 5,
            shares: shares(),
            handshakes: None,
            ended: FuturesUnordered::new(),
            _kill: CancellationToken::new().drop_guard(),
        };
        let mut connect = || workers.seat(Either::Right(UnixStream::pair().expect("a pair").0));
        for _ in 0..4 {
            connect();
        }
        assert_eq!((at_a.len(), at_b.len()), (2, 2));
        drop((at_b.try_recv(), at_b.try_recv()));
        connect();
        connect();
        assert_eq!((at_a.len(), at_b.len()), (2, 2));
        drop(at_a.try_recv());
        connect();
        assert_eq!((at_a.len(), at_b.len()), (2, 2));
        // One more is the fifth and last.
        connect();
        connect();
        assert_eq!(at_a.len() + at_b.len(), 5);
        let seat = |workers: &mut Workers| {
            workers.seat(Either::Right(UnixStream::pair().expect("a pair").0));
        };
        drop(at_a.try_recv());
        seat(&mut workers);
        assert_eq!(at_a.len() + at_b.len(), 5);
    }

    /// A worker that takes none must not make those that wait for it grow without end.
    #[test]
    fn a_connection_that_its_worker_does_not_take_is_closed_and_counted() {
        let (connections, mut accepted) = mpsc::channel(2);
        let seat = Seat {
            connections,
            occupied: Arc::default(),
        };
        let mut workers = Workers {
            seats: vec![seat],
            max_connections: 100,
            shares: shares(),
            handshakes: None,
            ended: FuturesUnordered::new(),
            _kill: CancellationToken::new().drop_guard(),
        };
        let closed = |workers: &Workers| {
            let mut series = workers.shares.closed().series();
            let waiting = series.find(|([(_, reason)], _)| *reason == "waiting");
            waiting.expect("a series").1
        };
        let connect = |workers: &mut Workers| {
            workers.seat(Either::Right(UnixStream::pair().expect("a pair").0));
        };
        (0..5).for_each(|_| connect(&mut workers));
        assert_eq!((accepted.len(), closed(&workers)), (2, 3));
        assert_eq!(
            workers.seats[0].taken(),
            2,
            "the others have left their places"
        );
        drop(accepted.try_recv());
        connect(&mut workers);
        assert_eq!((accepted.len(), closed(&workers)), (2, 3));
    }

    /// A worker that was gone would have been given connections for ever.
    #[tokio::test]
    async fn a_worker_that_panics_ends_the_limiter_with_an_error() {
        let closing = CancellationToken::new();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let acceptor = Acceptor::new(listener.expect("a port"));
        let build = || panic!("bad luck");
        let two = NonZeroUsize::MIN.saturating_add(1);
        let workers = Workers::start(two, 10, shares(), None, build, &closing).expect("threads");
        let served = workers.serve(acceptor, closing).await;
        assert!(matches!(served, Err(ServerError::Worker)), "{served:?}");
    }
}
