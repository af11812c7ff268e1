//! HTTP/1 on a bounded number of connections.
//!
//! Each connection has to send the head of its first request soon, may be idle between two requests
//! for a while, and has to read what it has asked for. Where there are as many as may be, one that
//! waits for its other side makes room for the next: one that has never spoken, else one that does
//! not read, else the one that has been idle for longest. Only requests that are being answered keep
//! their place, so silence locks nobody out.

mod body;
mod io;
mod stage;

use std::{borrow::BorrowMut, convert::Infallible, error::Error, time::Duration};

use ::http::{Request, Response};
use http_body::Body;
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, timeout},
};
use tower_service::Service;
use tracing::warn;

use self::{body::Ending, io::Noted, stage::Stage};
use crate::{Acceptor, Stream};

/// How long a new connection has for the head of its first request.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// How long a connection is kept between two requests, and has for the head of the next one. Longer
/// than the usual minute of proxies, which otherwise meet a connection that was just closed.
const IDLE_WITHIN: Duration = Duration::from_secs(75);

/// How long what has come in part may take to come whole, once the server drains.
pub const HALF_WITHIN: Duration = Duration::from_secs(2);

/// Serves at most `most` connections until `draining` is true, and then until all have ended.
/// Dropping it ends them at once. It takes no more connections from then on; an acceptor that it was
/// given is closed.
pub async fn serve<S, B>(
    mut acceptor: impl BorrowMut<Acceptor>,
    service: S,
    most: usize,
    draining: watch::Receiver<bool>,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let mut connections = Connections {
        most,
        running: JoinSet::new(),
        open: Vec::new(),
        is_full_known: false,
    };
    loop {
        tokio::select! {
            () = begins(draining.clone()) => break,
            Some(_) = connections.running.join_next() => {}
            stream = acceptor.borrow_mut().accept(), if connections.have_room() => {
                connections.make_room().await;
                let stage = Stage::new();
                let served = serve_one(stream, service.clone(), stage.clone(), draining.clone());
                connections.start(served, stage);
            }
            () = sleep(RECHECK), if connections.is_full() => {}
        }
    }
    drop(acceptor);
    while connections.running.join_next().await.is_some() {}
}

/// How often it is looked whether one makes room by now, where none did.
const RECHECK: Duration = Duration::from_millis(250);

struct Connections {
    most: usize,
    running: JoinSet<()>,
    /// Those that run, and some that have ended.
    open: Vec<(AbortHandle, Stage)>,
    is_full_known: bool,
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
                "there are as many connections as may be: those that wait make room, new ones wait"
            );
            self.is_full_known = true;
        }
        self.next_to_go().is_some()
    }

    /// Who makes room now.
    fn next_to_go(&self) -> Option<&AbortHandle> {
        let now = Instant::now();
        let open = self.open.iter().filter(|(handle, _)| !handle.is_finished());
        let waiting = open.filter_map(|(handle, stage)| Some((stage.rank(now)?, handle)));
        let first = waiting.min_by_key(|(rank, _)| *rank);
        first.map(|(_, handle)| handle)
    }

    /// Closes connections that wait, if it must. All may be busy since there was one; then this
    /// waits.
    async fn make_room(&mut self) {
        while self.is_full() {
            if let Some(first) = self.next_to_go() {
                first.abort();
            }
            let _ended = timeout(RECHECK, self.running.join_next()).await;
        }
    }

    fn start(&mut self, served: impl Future<Output = ()> + Send + 'static, stage: Stage) {
        // Not with each that ends: that would be one look at all for each.
        if self.open.len() >= 2 * self.running.len().max(16) {
            self.open.retain(|(handle, _)| !handle.is_finished());
        }
        self.open.push((self.running.spawn(served), stage));
    }
}

/// Serves one connection. Its errors are its client's, who has gone or speaks no HTTP.
async fn serve_one<S, B>(stream: Stream, service: S, stage: Stage, draining: watch::Receiver<bool>)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let of_request = stage.clone();
    let service = hyper::service::service_fn(move |request| {
        of_request.asked();
        let (answer, stage) = (service.clone().call(request), of_request.clone());
        async move {
            let Ok(answer) = answer.await;
            Ok::<_, Infallible>(answer.map(|body| Ending::new(body, stage)))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_WITHIN)
        .serve_connection(TokioIo::new(Noted::new(stream, stage.clone())), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        () = silence(&stage, HEAD_WITHIN) => return,
        () = begins(draining) => {}
    }
    // Ends it now if it is idle, else after the request that it is at.
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection => {}
        () = silence(&stage, HALF_WITHIN) => {}
    }
}

/// Ends when nothing was said for `long`; never once something was.
async fn silence(stage: &Stage, long: Duration) {
    sleep(long).await;
    if !stage.is_silent() {
        std::future::pending::<()>().await;
    }
}

/// Ends when `draining` is true; never if nobody is left to say so.
pub async fn begins(mut draining: watch::Receiver<bool>) {
    if draining.wait_for(|draining| *draining).await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests;
