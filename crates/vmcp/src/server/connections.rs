//! Connections: how many there are, and how long one may take to say what it wants.
//!
//! A connection that says nothing costs its sender nothing, and this process one of the files that
//! it may have open. So there are only so many, each has to send its first request soon, and where
//! there are too many those that have said nothing yet make room for those that may.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::resource::{Resource, getrlimit};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use tower_service::Service as _;
use tracing::{error, warn};

use crate::serve::{HALF_WITHIN, begins};

/// How long a new connection has for the head of its first request.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// How long a connection is kept between two requests, and has for the head of the next one. Longer
/// than the usual minute of proxies, which otherwise meet a connection that was just closed.
const IDLE_WITHIN: Duration = Duration::from_secs(75);

/// The pause after a failure that the next attempt would meet again, like too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// The most connections where nothing is configured.
const MOST: usize = 1_024;

/// The most connections where nothing is configured: at most half of the files that this process
/// may have open, for backends and limiters need some too.
pub(super) fn default_most() -> usize {
    let open_files = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    usize::try_from(open_files / 2).map_or(MOST, |half| half.clamp(1, MOST))
}

/// Serves at most `most` connections until `draining` says so, and then until all have ended.
/// Dropping it ends them at once.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    most: usize,
    draining: watch::Receiver<bool>,
) {
    let mut connections = Connections {
        most,
        running: JoinSet::new(),
        silent: VecDeque::new(),
        is_full_known: false,
    };
    let mut is_failing = false;
    loop {
        tokio::select! {
            () = begins(draining.clone()) => break,
            Some(_) = connections.running.join_next() => {}
            accepted = listener.accept(), if connections.have_room() => match accepted {
                Ok((stream, _)) => {
                    is_failing = false;
                    connections.make_room().await;
                    connections.start(stream, router.clone(), draining.clone());
                }
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    if !is_failing {
                        error!(%error, "cannot accept connections");
                        is_failing = true;
                    }
                    sleep(PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while connections.running.join_next().await.is_some() {}
}

struct Connections {
    most: usize,
    running: JoinSet<()>,
    /// Those that may have said nothing yet, oldest first.
    silent: VecDeque<Silent>,
    is_full_known: bool,
}

/// A connection, and whether it has sent the head of a request.
struct Silent {
    connection: AbortHandle,
    has_spoken: watch::Receiver<bool>,
}

impl Silent {
    fn is_over(&self) -> bool {
        *self.has_spoken.borrow() || self.connection.is_finished()
    }
}

impl Connections {
    fn is_full(&self) -> bool {
        self.running.len() >= self.most
    }

    /// Whether a connection is free, or can be made so.
    fn have_room(&mut self) -> bool {
        if !self.is_full() {
            return true;
        }
        if !self.is_full_known {
            warn!(
                most = self.most,
                "there are as many connections as may be: silent ones are closed, new ones wait"
            );
            self.is_full_known = true;
        }
        self.silent.retain(|silent| !silent.is_over());
        !self.silent.is_empty()
    }

    /// Closes the oldest silent connection if it must. All may have spoken since there was one; then
    /// this waits.
    async fn make_room(&mut self) {
        while self.silent.front().is_some_and(Silent::is_over) {
            self.silent.pop_front();
        }
        if !self.is_full() {
            return;
        }
        if let Some(oldest) = self.silent.pop_front() {
            oldest.connection.abort();
        }
        while self.is_full() {
            self.running.join_next().await;
        }
    }

    fn start(&mut self, stream: TcpStream, router: Router, draining: watch::Receiver<bool>) {
        // It fails on a connection that is gone already, which is seen soon enough.
        let _ = stream.set_nodelay(true);
        let (speaks, has_spoken) = watch::channel(false);
        let spoken = has_spoken.clone();
        let connection = self
            .running
            .spawn(serve_one(stream, router, speaks, spoken, draining));
        self.silent.push_back(Silent {
            connection,
            has_spoken,
        });
    }
}

/// Serves one connection. Its errors are its client's, who has gone or speaks no HTTP.
async fn serve_one(
    stream: TcpStream,
    router: Router,
    speaks: watch::Sender<bool>,
    has_spoken: watch::Receiver<bool>,
    draining: watch::Receiver<bool>,
) {
    let service = hyper::service::service_fn(move |request| {
        speaks.send_replace(true);
        router.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_WITHIN)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        () = silence(has_spoken.clone(), HEAD_WITHIN) => return,
        () = begins(draining) => {}
    }
    // Ends it now if it is idle, else after the request that it is at.
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection => {}
        () = silence(has_spoken, HALF_WITHIN) => {}
    }
}

/// Ends when nothing was said for `long`; never once something was.
async fn silence(mut has_spoken: watch::Receiver<bool>, long: Duration) {
    if timeout(long, has_spoken.wait_for(|spoken| *spoken))
        .await
        .is_ok()
    {
        std::future::pending::<()>().await;
    }
}

/// Whether only this one connection has failed, before it was accepted.
fn is_of_the_connection(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

#[cfg(test)]
mod tests;
