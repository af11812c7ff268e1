//! HTTP/1 on a bounded number of connections.
//!
//! Each connection has to send the head of its first request soon, may be idle between two requests
//! for a while, and has to read what it has asked for. Where there are as many as may be, one that
//! waits for its other side makes room for the next: one that has never spoken, else one that does
//! not send the body it began, else one that does not read, else one that has done no
//! [work](Connection::worked), else one that has done none for long. Of those it is one of the address
//! that has most. Only whole requests that are being answered keep their place, so neither silence nor
//! probes lock anybody out. Where all are being answered, a few [spare](Bounds::spare) connections are
//! there for probes; they make room for each other, and only when all of them are taken.

mod body;
mod bounds;
mod io;
mod stage;

use std::{
    borrow::BorrowMut, cmp::Reverse, collections::HashMap, convert::Infallible, error::Error,
    time::Duration,
};

use ::http::{
    Request, Response,
    header::{CONNECTION, HeaderValue},
};
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

pub use self::{body::Arriving, bounds::Bounds, stage::Connection};
use self::{body::Ending, io::Noted, stage::Stage};
use crate::{Acceptor, Address, Stream};

/// How long a new connection has for the head of its first request.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// How long a connection is kept between two requests, and has for the head of the next one. Longer
/// than the usual minute of proxies, which otherwise meet a connection that was just closed.
const IDLE_WITHIN: Duration = Duration::from_secs(75);

/// How long what has come in part may take to come whole, once the server drains.
pub const HALF_WITHIN: Duration = Duration::from_secs(2);

/// Serves connections within `bounds` until `draining` is true, and then until all have ended.
/// Dropping it ends them at once. It takes no more connections from then on; an acceptor that it was
/// given is closed.
pub async fn serve<S, B>(
    mut acceptor: impl BorrowMut<Acceptor>,
    service: S,
    bounds: Bounds,
    draining: watch::Receiver<bool>,
) where
    S: Service<Request<Arriving>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let mut connections = Connections {
        bounds,
        running: JoinSet::new(),
        open: Vec::new(),
        is_full_known: false,
    };
    loop {
        tokio::select! {
            () = begins(draining.clone()) => break,
            Some(_) = connections.running.join_next() => {}
            stream = acceptor.borrow_mut().accept(), if connections.have_room() => {
                let address = Address::of(&stream);
                if !connections.admit(address) {
                    continue;
                }
                let is_spare = connections.make_room().await;
                let stage = Stage::new(is_spare);
                let served = serve_one(stream, service.clone(), stage.clone(), draining.clone());
                connections.start(served, stage, address);
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
    bounds: Bounds,
    running: JoinSet<()>,
    /// Those that run, and some that have ended.
    open: Vec<Open>,
    is_full_known: bool,
}

struct Open {
    handle: AbortHandle,
    stage: Stage,
    address: Option<Address>,
}

impl Open {
    /// Closes it, if it still waits for its other side.
    fn makes_room(&self) -> bool {
        let goes = self.stage.goes(Instant::now());
        if goes {
            self.handle.abort();
        }
        goes
    }
}

impl Connections {
    /// Whether no connection but a spare one is free.
    fn is_full(&self) -> bool {
        let most = self.bounds.most;
        // Most of the time that need not be counted.
        self.running.len() >= most && self.open(false).count() >= most
    }

    fn have_spare(&self) -> bool {
        self.open(true).count() < self.bounds.spare
    }

    /// Whether a connection is free, or can be made so.
    fn have_room(&mut self) -> bool {
        if !self.is_full() {
            return true;
        }
        if !self.is_full_known {
            warn!(
                most = self.bounds.most,
                "there are as many connections as may be: those that wait make room, new ones wait"
            );
            self.is_full_known = true;
        }
        self.next_to_go(false).is_some() || self.have_spare() || self.next_to_go(true).is_some()
    }

    fn all_open(&self) -> impl Iterator<Item = &Open> {
        self.open.iter().filter(|open| !open.handle.is_finished())
    }

    /// The spare ones, or the others.
    fn open(&self, is_spare: bool) -> impl Iterator<Item = &Open> {
        self.all_open()
            .filter(move |open| open.stage.is_spare() == is_spare)
    }

    /// Who of the spare ones makes room now, or of the others.
    fn next_to_go(&self, is_spare: bool) -> Option<&Open> {
        let mut counts: HashMap<Address, usize> = HashMap::new();
        for address in self.all_open().filter_map(|open| open.address) {
            *counts.entry(address).or_default() += 1;
        }
        let now = Instant::now();
        let waiting = self.open(is_spare).filter_map(|open| {
            let (order, since) = open.stage.rank(now)?;
            let count = open.address.and_then(|address| counts.get(&address));
            Some(((order, Reverse(count), since), open))
        });
        let first = waiting.min_by_key(|(rank, _)| *rank);
        first.map(|(_, open)| open)
    }

    /// Whether one more of `address` may come. It takes the place of another of that address, if
    /// there are as many as may be.
    fn admit(&self, address: Option<Address>) -> bool {
        let (Some(most), true) = (self.bounds.per_address, address.is_some()) else {
            return true;
        };
        let own = || self.all_open().filter(|open| open.address == address);
        if own().count() < most {
            return true;
        }
        let now = Instant::now();
        let waiting = own().filter_map(|open| Some((open.stage.rank(now)?, open)));
        let first = waiting.min_by_key(|(rank, _)| *rank);
        first.is_some_and(|(_, open)| open.makes_room())
    }

    /// Closes connections that wait, if it must, and says whether the next one is spare. All may be
    /// busy since there was room; then this waits.
    async fn make_room(&mut self) -> bool {
        while self.is_full() {
            match self.next_to_go(false) {
                Some(first) => first.makes_room(),
                None if self.have_spare() => return true,
                // Never one whose head may come any moment, as long as there is another.
                None => self.next_to_go(true).is_some_and(Open::makes_room),
            };
            let _ended = timeout(RECHECK, self.running.join_next()).await;
        }
        false
    }

    fn start(
        &mut self,
        served: impl Future<Output = ()> + Send + 'static,
        stage: Stage,
        address: Option<Address>,
    ) {
        // Not with each that ends: that would be one look at all for each.
        if self.open.len() >= 2 * self.running.len().max(16) {
            self.open.retain(|open| !open.handle.is_finished());
        }
        let handle = self.running.spawn(served);
        self.open.push(Open {
            handle,
            stage,
            address,
        });
    }
}

/// Serves one connection. Its errors are its client's, who has gone or speaks no HTTP.
async fn serve_one<S, B>(stream: Stream, service: S, stage: Stage, draining: watch::Receiver<bool>)
where
    S: Service<Request<Arriving>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let of_request = stage.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let stage = of_request.clone();
        let answer = stage.asked().then(|| {
            let mut request = request.map(|body| Arriving::new(body, stage.clone()));
            let connection = Connection::of(stage.clone());
            request.extensions_mut().insert(connection);
            service.clone().call(request)
        });
        async move {
            let Some(answer) = answer else {
                return std::future::pending().await;
            };
            let Ok(answer) = answer.await;
            let is_spare = stage.is_spare();
            let mut answer = answer.map(|body| Ending::new(body, stage));
            if is_spare {
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, Infallible>(answer)
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
