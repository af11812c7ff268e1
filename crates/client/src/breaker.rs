//! The circuit breaker of one limiter replica: whoever keeps failing is not waited for.
//!
//! It is per replica, not per client. Were it per client, the answers of a good replica would
//! interrupt the row of failures of a bad one, which then would cost its share of the calls a whole
//! deadline for ever; or the bad one would shut out the good ones. Per replica, an open breaker
//! takes just that replica out of the choice, and only when all are open is a call let through
//! unasked.
//!
//! What counts is what a check met: a late or unreadable answer, or an error. Connections that
//! cannot be made do not count, for nobody waits for them (`replica.rs`), and a connection that
//! breaks while checks are in flight counts once, not once for each of them. So a limiter that was
//! replaced is used again as soon as it is connected, not only after a probe interval.
//!
//! Checks that their callers give up sooner than the client would count by what becomes of the first
//! of them: no answer by its deadline is one failure (`waiting.rs`).
//!
//! When it opens, the replica also gets a new connection: the old one may be a black hole that TCP
//! has not noticed, or lead to the one bad limiter behind a load balancer.

use tokio::time::Instant;

use crate::{Backoff, backoff::Waits};

/// When a breaker opens, and how it probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Failures in a row that open it.
    pub failures: u32,
    /// From opening to the first probe, and between probes.
    pub probe: Backoff,
}

/// What a breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// All checks.
    Closed,
    /// No check.
    Open,
    /// One check is on its way, and decides.
    Probing,
}

impl BreakerState {
    /// `closed`, `open` or `probing`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Probing => "probing",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Breaker {
    config: BreakerConfig,
    state: State,
    /// Counts openings and probes. A check that was let through before is no longer asked.
    epoch: u64,
    waits: Waits,
    random: fastrand::Rng,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    Probing,
}

/// Leave to send one check.
#[derive(Debug)]
pub(crate) struct Permit {
    epoch: u64,
}

/// Whether a check would be let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    ProbeDue,
    NotReady,
}

/// What a report has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    Opened,
    /// A probe failed.
    StaysOpen,
    Closed,
}

impl Breaker {
    pub(crate) fn new(config: BreakerConfig, random: fastrand::Rng) -> Self {
        Self {
            config,
            state: State::Closed { failures: 0 },
            epoch: 0,
            waits: Waits::new(config.probe),
            random,
        }
    }

    pub(crate) fn readiness(&self, now: Instant) -> Readiness {
        match self.state {
            State::Closed { .. } => Readiness::Ready,
            State::Open { until } if until <= now => Readiness::ProbeDue,
            State::Open { .. } | State::Probing => Readiness::NotReady,
        }
    }

    pub(crate) const fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::Probing => BreakerState::Probing,
        }
    }

    /// Lets a check through, or none. Each permit must come back by one of the methods below.
    pub(crate) fn admit(&mut self, now: Instant) -> Option<Permit> {
        match self.readiness(now) {
            Readiness::Ready => {}
            Readiness::ProbeDue => {
                self.state = State::Probing;
                self.epoch += 1;
            }
            Readiness::NotReady => return None,
        }
        Some(Permit { epoch: self.epoch })
    }

    /// The check got an answer.
    pub(crate) fn succeeded(&mut self, permit: &Permit) -> Change {
        if permit.epoch != self.epoch {
            return Change::None;
        }
        let was_probe = matches!(self.state, State::Probing);
        self.state = State::Closed { failures: 0 };
        if was_probe {
            self.waits.reset();
            return Change::Closed;
        }
        Change::None
    }

    /// The check failed.
    pub(crate) fn failed(&mut self, permit: &Permit, now: Instant) -> Change {
        if permit.epoch == self.epoch {
            self.strike(now)
        } else {
            Change::None
        }
    }

    /// The check was given up before it could tell. If it was the probe, the next check is.
    pub(crate) fn abandoned(&mut self, permit: &Permit, now: Instant) {
        if permit.epoch == self.epoch && matches!(self.state, State::Probing) {
            self.state = State::Open { until: now };
        }
    }

    /// The connection failed, or a check that was given up was not answered in time.
    pub(crate) fn strike(&mut self, now: Instant) -> Change {
        match self.state {
            State::Closed { failures } if failures + 1 < self.config.failures => {
                self.state = State::Closed {
                    failures: failures + 1,
                };
                Change::None
            }
            State::Closed { .. } => self.open(now, Change::Opened),
            State::Probing => self.open(now, Change::StaysOpen),
            // The probe that was due has been given up, and this is what became of it.
            State::Open { until } if until <= now => self.open(now, Change::StaysOpen),
            State::Open { .. } => Change::None,
        }
    }

    fn open(&mut self, now: Instant, change: Change) -> Change {
        let until = now + self.waits.next(&mut self.random);
        self.state = State::Open { until };
        self.epoch += 1;
        change
    }
}

#[cfg(test)]
mod tests;
