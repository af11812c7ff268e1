//! The circuit breaker between all workers of a replica and their store.
//!
//! It opens at once when a check fails for a reason that time does not heal: the connection is
//! lost or has fallen silent, or the store refuses. A check that was merely late says less: on a busy
//! machine one batch is late now and then, or one in three, and only its checks are decided alone.
//! Batches that are late one after the other, for [`LATE_FOR`] and with none in time in between, open
//! the breaker all the same: a store that always answers too late costs each check its deadline.
//! Checks that were on their way together count once.
//!
//! Probes close it, never checks: of a store that is going under, now and then one succeeds.
//!
//! While all is well it costs a check one load of an atomic.

#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use toolgate_limit::{Clock as _, StoreError, SystemClock, Timestamp};

use super::{failures::Failures, is_outage};

const OPEN: u64 = 1;
/// One late batch more.
const ONE_LATE: u64 = 2;
/// All late batches in a row.
const LATE_BITS: u64 = 0b1110;
/// A probe was late, and no check was decided since.
const PROBE_LATE: u64 = 16;
const EPOCH: u64 = 32;

/// So many late batches in a row, at least, open the breaker.
const LATE: u64 = 3;

/// The first and the last of them are so far apart, at least.
pub(crate) const LATE_FOR: Duration = Duration::from_secs(1);

const _: () = assert!(LATE * ONE_LATE <= LATE_BITS);

/// Open while the store does not decide.
#[derive(Debug)]
pub(crate) struct Breaker {
    /// How often it was closed, times [`EPOCH`]; late batches in a row, times [`ONE_LATE`];
    /// [`PROBE_LATE`]; and [`OPEN`].
    state: AtomicU64,
    /// When the first late batch of those in a row was, in microseconds since `made`.
    late_since: AtomicU64,
    made: Instant,
    outage: Mutex<Option<Outage>>,
    tripped: Notify,
    failures: Failures,
    /// Told while it is closed: checks fail all the same, or those of a part of the store do.
    trouble: Mutex<Option<Trouble>>,
    /// When failures that are no outage are told again, in microseconds.
    quiet_until: AtomicU64,
    clock: SystemClock,
}

/// At most so often a failure that is no outage is told.
const QUIET: Duration = Duration::from_mins(1);

#[derive(Clone, Debug)]
struct Outage {
    since: Timestamp,
    error: StoreError,
}

#[derive(Clone, Debug)]
struct Trouble {
    since: Timestamp,
    reason: String,
    is_whole: bool,
}

/// Leave to ask the store once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permit(u64);

impl Breaker {
    pub(crate) fn new() -> Self {
        Self {
            state: AtomicU64::new(0),
            late_since: AtomicU64::new(0),
            made: Instant::now(),
            outage: Mutex::new(None),
            tripped: Notify::new(),
            failures: Failures::default(),
            trouble: Mutex::new(None),
            quiet_until: AtomicU64::new(0),
            clock: SystemClock::new(),
        }
    }

    /// Leave to ask the store; none while the breaker is open.
    pub(crate) fn permit(&self) -> Option<Permit> {
        // What goes with the state is behind a lock of its own.
        let state = self.state.load(Ordering::Relaxed);
        (state & OPEN == 0).then_some(Permit(state))
    }

    /// Whether no check reaches the store.
    pub(crate) fn is_open(&self) -> bool {
        self.permit().is_none()
    }

    /// The store has decided. Checks that were sent before the last late one tell nothing new.
    pub(crate) fn decided(&self, Permit(state): Permit) {
        if state & (LATE_BITS | PROBE_LATE) != 0 {
            let anew = state & !(LATE_BITS | PROBE_LATE);
            // A failure to exchange says that another check has told its outcome first.
            let _ =
                (self.state).compare_exchange(state, anew, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// A probe was late. Whether a check was decided since the one before was, so that the store is
    /// known to be well.
    pub(crate) fn probe_was_late(&self) -> bool {
        let before = self.state.fetch_or(PROBE_LATE, Ordering::Relaxed);
        before & (OPEN | PROBE_LATE) == 0
    }

    /// The store made no decision. A check that was sent before the breaker was last closed tells
    /// nothing about the time since.
    pub(crate) fn failed(&self, permit: Permit, error: &StoreError) {
        if !is_outage(error) {
            self.tell(error);
            if matches!(error, StoreError::Partial { .. }) {
                self.failures.note(error, Instant::now());
            }
        } else if !self.is_one_of_few_late(permit, error) && self.open_from(permit, error) {
            self.failures.note(error, Instant::now());
            self.tripped.notify_one();
        }
    }

    /// Whether the check was late, and not so many batches in a row were that the breaker opens. Counts
    /// its batch, unless another check that was on its way at the same time has told its outcome.
    fn is_one_of_few_late(&self, Permit(state): Permit, error: &StoreError) -> bool {
        if !matches!(error, StoreError::Timeout { .. }) {
            return false;
        }
        if self.state.load(Ordering::Relaxed) == state {
            let in_a_row = state & LATE_BITS;
            if in_a_row == 0 {
                self.late_since.store(self.now(), Ordering::Relaxed);
            }
            if in_a_row + ONE_LATE < LATE * ONE_LATE {
                let more = state + ONE_LATE;
                let _ = (self.state).compare_exchange(
                    state,
                    more,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
            } else if self
                .now()
                .saturating_sub(self.late_since.load(Ordering::Relaxed))
                >= micros(LATE_FOR)
            {
                return false;
            }
        }
        self.tell(error);
        true
    }

    /// In microseconds since it was made.
    fn now(&self) -> u64 {
        micros(self.made.elapsed())
    }

    /// Logs a failure that is no outage of the store, unless one was logged of late.
    pub(crate) fn tell(&self, error: &StoreError) {
        let now = self.clock.now();
        let until = self.quiet_until.load(Ordering::Relaxed);
        let next = (now + QUIET).as_micros();
        let is_first = now.as_micros() >= until
            && (self.quiet_until)
                .compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if is_first {
            tracing::warn!(%error, "a check was not decided by the store, nor will some others be");
        }
    }

    /// Probes have failed; the latest says why.
    pub(crate) fn open(&self, error: &StoreError) {
        if let Some(permit) = self.permit() {
            self.open_from(permit, error);
        } else if let Some(outage) = &mut *self.outage() {
            outage.error = error.clone();
        }
    }

    /// Whether it was this that has opened it.
    fn open_from(&self, Permit(closed): Permit, error: &StoreError) -> bool {
        let mut outage = self.outage();
        let is_same_epoch = |now: u64| now & OPEN == 0 && now / EPOCH == closed / EPOCH;
        let opened = (self.state).fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            is_same_epoch(now).then_some(now | OPEN)
        });
        if opened.is_err() {
            return false;
        }
        *outage = Some(Outage {
            since: self.clock.now(),
            error: error.clone(),
        });
        true
    }

    /// A probe has succeeded. Says whether it was open.
    pub(crate) fn close(&self) -> bool {
        let mut outage = self.outage();
        if outage.take().is_none() {
            return false;
        }
        // Only whoever holds the lock opens it or closes it, and late checks count while it is
        // closed.
        let _ = (self.state).fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
            Some((open / EPOCH + 1) * EPOCH)
        });
        true
    }

    /// Waits until a check has opened it.
    pub(crate) async fn tripped(&self) {
        self.tripped.notified().await;
    }

    /// What checks have met of late.
    pub(crate) const fn failures(&self) -> &Failures {
        &self.failures
    }

    /// What is told of the store while the breaker is closed: why checks are not decided, and whether
    /// that concerns all of them. None: nothing is wrong.
    pub(crate) fn set_trouble(&self, told: Option<(String, bool)>) {
        let mut trouble = self.trouble();
        let since = trouble.as_ref().map(|trouble| trouble.since);
        *trouble = told.map(|(reason, is_whole)| Trouble {
            since: since.unwrap_or_else(|| self.clock.now()),
            reason,
            is_whole,
        });
    }

    /// Whether it is open, or closed and checks fail all the same.
    pub(crate) fn is_outage(&self) -> bool {
        let fails = |trouble: &Trouble| trouble.is_whole;
        self.is_open() || self.trouble().as_ref().is_some_and(fails)
    }

    /// Since when and why the store, or a part of it, does not decide; none while it does.
    pub(crate) fn outage_now(&self) -> Option<(Timestamp, String)> {
        let trouble = self.trouble().clone();
        let trouble = trouble.map(|trouble| (trouble.since, trouble.reason));
        let outage = self.outage();
        let outage = outage
            .as_ref()
            .map(|outage| (outage.since, outage.error.to_string()));
        match (trouble, outage) {
            (Some((since, _)), Some((opened, reason))) => Some((since.min(opened), reason)),
            (trouble, outage) => outage.or(trouble),
        }
    }

    /// What those hear whom nobody decides for. Closed just now, it still answers for those who
    /// found it open.
    pub(crate) fn error(&self) -> StoreError {
        let outage = self.outage();
        let known = outage.as_ref().map(|outage| outage.error.clone());
        known.unwrap_or_else(|| StoreError::Unavailable {
            kind: "recovered",
            reason: "it decides again only now".to_owned(),
            source: None,
        })
    }

    /// No update is ever left half done by a panic, so a poisoned lock is as good as any.
    fn trouble(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outage(&self) -> MutexGuard<'_, Option<Outage>> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Whether a replica's store decides, for whoever shows it. Clones show the same.
#[derive(Clone, Debug)]
pub struct StoreState(Arc<Breaker>);

impl StoreState {
    pub(crate) const fn of(breaker: Arc<Breaker>) -> Self {
        Self(breaker)
    }

    /// Since when the replica has been without its store; none while the store decides.
    pub fn degraded_since(&self) -> Option<Timestamp> {
        self.0.outage_now().map(|(since, _)| since)
    }
}
