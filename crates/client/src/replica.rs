//! One limiter replica: its connection, its breaker, and what is in flight to it.
//!
//! One task holds the connection and makes it anew, after growing waits, whenever it is lost.
//! While there is none nobody waits: the replica is not in the choice. A limiter that asks to leave is
//! left for a new connection without a check that fails (`replica/serve.rs`).

mod serve;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use toolgate_limit::{Answer, LimiterError};

use crate::{
    ClientConfig,
    backoff::Waits,
    breaker::{Breaker, BreakerState, Change, Permit, Readiness},
    connection::{self, Address, ConnectError},
    faults::Faults,
    outcome::{Sign, sign},
    session::{End, Session},
    start::Start,
};

/// One limiter replica.
pub(crate) struct Replica {
    address: Address,
    session: ArcSwapOption<Session>,
    in_flight: AtomicUsize,
    breaker: Mutex<Breaker>,
    retired: Notify,
    faults: Arc<Faults>,
}

/// The state of one limiter replica, for metrics and people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Its address.
    pub endpoint: Arc<str>,
    /// Whether there is a connection.
    pub connected: bool,
    /// Checks sent and not yet answered.
    pub in_flight: usize,
    /// What its circuit breaker lets through.
    pub breaker: BreakerState,
}

/// Leave to send one check to one replica. Until dropped, it counts as in flight.
pub(crate) struct Ticket {
    replica: Arc<Replica>,
    pub(crate) session: Arc<Session>,
    permit: Permit,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.replica.in_flight.fetch_sub(1, Ordering::SeqCst);
        // Nothing to give up if the check has been reported.
        let mut breaker = self.replica.breaker();
        breaker.abandoned(&self.permit, Instant::now());
    }
}

impl Ticket {
    /// Where the check goes.
    pub(crate) fn endpoint(&self) -> &str {
        self.replica.endpoint()
    }

    /// Tells the breaker how the check went.
    pub(crate) fn report(self, result: &Result<Answer, LimiterError>) {
        let change = {
            let mut breaker = self.replica.breaker();
            let now = Instant::now();
            match sign(result) {
                Sign::Good => breaker.succeeded(&self.permit),
                Sign::Bad => breaker.failed(&self.permit, now),
                Sign::Lost if self.session.take_blame() => breaker.failed(&self.permit, now),
                Sign::Lost | Sign::None => Change::None,
            }
        };
        if matches!(change, Change::Opened | Change::StaysOpen) {
            self.session.condemn();
        }
        match result {
            Ok(_) => self.replica.log(change, &"it answers"),
            Err(error) => self.replica.log(change, error),
        }
    }
}

impl Replica {
    pub(crate) fn new(address: Address, config: &ClientConfig, faults: Arc<Faults>) -> Self {
        Self {
            address,
            session: ArcSwapOption::empty(),
            in_flight: AtomicUsize::new(0),
            breaker: Mutex::new(Breaker::new(config.breaker, fastrand::Rng::new())),
            retired: Notify::new(),
            faults,
        }
    }

    pub(crate) fn endpoint(&self) -> &Arc<str> {
        &self.address.label
    }

    /// Checks sent and not yet answered.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Whether its breaker would let a check through; none without a connection.
    pub(crate) fn readiness(&self, now: Instant) -> Option<Readiness> {
        self.open_session()?;
        Some(self.breaker().readiness(now))
    }

    pub(crate) fn status(&self) -> ReplicaStatus {
        ReplicaStatus {
            endpoint: Arc::clone(self.endpoint()),
            connected: self.open_session().is_some(),
            in_flight: self.in_flight(),
            breaker: self.breaker().state(),
        }
    }

    /// Why a check is not sent while the breaker is not closed.
    pub(crate) fn left_alone(&self) -> LimiterError {
        let endpoint = Arc::clone(self.endpoint());
        LimiterError::BreakerOpen { endpoint }
    }

    /// Leave to send a check, of which no more than `max` may be in flight. The error says why there
    /// is none.
    pub(crate) fn admit(
        self: &Arc<Self>,
        max: usize,
        now: Instant,
    ) -> Result<Ticket, LimiterError> {
        let Some(session) = self.open_session() else {
            let endpoint = Arc::clone(self.endpoint());
            return Err(LimiterError::Unreachable { endpoint });
        };
        if self.in_flight.fetch_add(1, Ordering::SeqCst) >= max {
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
            return Err(LimiterError::Overloaded { max });
        }
        let Some(permit) = self.breaker().admit(now) else {
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
            return Err(self.left_alone());
        };
        Ok(Ticket {
            replica: Arc::clone(self),
            session,
            permit,
        })
    }

    /// Ends the replica's task, as soon as what is in flight can be over.
    pub(crate) fn retire(&self) {
        self.retired.notify_one();
    }

    /// Keeps the replica connected, until it is retired.
    pub(crate) async fn run(
        self: Arc<Self>,
        config: Arc<ClientConfig>,
        start: Arc<Start>,
        lost: Arc<Notify>,
    ) {
        // However the task ends, nobody is sent where nobody reads the answers.
        let _last = Disconnect(&self);
        let retired = async {
            self.retired.notified().await;
            sleep(config.timeout).await;
        };
        tokio::select! {
            () = self.keep_connected(&config, &start, &lost) => {}
            () = retired => {}
        }
    }

    async fn keep_connected(&self, config: &ClientConfig, start: &Start, lost: &Notify) {
        let random = &mut fastrand::Rng::new();
        let mut waits = Waits::new(config.reconnect);
        let mut first_attempt = true;
        let mut known = Known::Nothing;
        loop {
            let began = Instant::now();
            match connection::open(&self.address, config).await {
                Ok(connection) => {
                    self.log_connected(&mut known);
                    start.end();
                    let end = self.serve(connection, config, lost).await;
                    self.log_lost(&mut known, &end);
                    if end.answered || began.elapsed() > config.reconnect.longest {
                        waits.reset();
                    }
                }
                Err(error) => self.log_no_connection(&mut known, &error),
            }
            if std::mem::take(&mut first_attempt) {
                start.attempt_ended();
            }
            lost.notify_one();
            sleep(waits.next(random)).await;
        }
    }

    /// Checks go out by `session` from now on.
    pub(crate) fn connect(&self, session: Arc<Session>) {
        self.session.store(Some(session));
    }

    /// A check that its caller gave up was not answered in time.
    fn fell_silent(&self, session: &Session) {
        let change = self.breaker().strike(Instant::now());
        if matches!(change, Change::Opened | Change::StaysOpen) {
            session.condemn();
        }
        self.log(change, &"it does not answer in time");
    }

    /// Whether it is only asked if there is no other: it has said that it will take no more checks,
    /// and there is no new connection yet.
    pub(crate) fn is_leaving(&self) -> bool {
        let session = self.session.load();
        session.as_ref().is_some_and(|session| session.is_leaving())
    }

    fn open_session(&self) -> Option<Arc<Session>> {
        self.session.load_full().filter(|session| session.is_open())
    }

    fn log_connected(&self, known: &mut Known) {
        let limiter = self.endpoint();
        if std::mem::replace(known, Known::Connected) == Known::Connected {
            tracing::debug!(%limiter, "connected to the limiter again");
        } else {
            tracing::info!(%limiter, "connected to the limiter");
        }
    }

    /// While the breaker is not closed, connections come and go with its probes, and that it opened
    /// has been said.
    fn log_lost(&self, known: &mut Known, end: &End) {
        let (limiter, reason) = (self.endpoint(), &end.reason);
        if self.breaker().state() == BreakerState::Closed {
            *known = Known::Lost;
            tracing::warn!(%limiter, %reason, "lost the connection to the limiter");
        } else {
            tracing::debug!(%limiter, %reason, "lost the connection to the limiter, which fails");
        }
    }

    fn log_no_connection(&self, known: &mut Known, error: &ConnectError) {
        let limiter = self.endpoint();
        let is_fault = self.faults.see_connection(limiter, error);
        if std::mem::replace(known, Known::Lost) == Known::Lost || is_fault {
            tracing::debug!(%limiter, %error, "still no connection to the limiter");
        } else {
            tracing::warn!(%limiter, %error, "no connection to the limiter");
        }
    }

    fn log(&self, change: Change, reason: &dyn fmt::Display) {
        let limiter = self.endpoint();
        match change {
            Change::None => {}
            Change::Opened => {
                tracing::warn!(%limiter, %reason, "the limiter keeps failing and is left alone");
            }
            Change::StaysOpen => tracing::debug!(%limiter, %reason, "the limiter fails still"),
            Change::Closed => tracing::info!(%limiter, "the limiter works again"),
        }
    }

    /// A breaker is changed in one step, so a poisoned lock is as good as any.
    pub(crate) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the log has said of the connection last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Nothing,
    Connected,
    Lost,
}

/// Takes a replica out of the choice when its task ends.
struct Disconnect<'a>(&'a Replica);

impl Drop for Disconnect<'_> {
    fn drop(&mut self) {
        self.0.session.store(None);
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.status().fmt(f)
    }
}

#[cfg(test)]
mod tests;
