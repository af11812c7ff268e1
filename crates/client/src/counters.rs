//! What was decided, and why what was not was not.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use toolgate_limit::LimiterError;

/// Why a check was not decided: the label of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// No connection to a limiter is up.
    Unreachable,
    /// The limiter has failed too often of late and was not asked.
    BreakerOpen,
    /// As many checks as may be wait for the limiter.
    Overloaded,
    /// The limiter did not answer in time.
    Timeout,
    /// The connection broke before the answer.
    ConnectionLost,
    /// The limiter answered that it has failed.
    Failed,
    /// The limiter does not decide this check, which is invalid or not this client's to ask.
    Rejected,
    /// The limiter's answer cannot be read.
    Malformed,
    /// The store of a limiter in this process failed.
    Store,
    /// Anything else.
    Other,
}

impl Cause {
    /// All causes, in the order of their definition.
    pub const ALL: [Self; 10] = [
        Self::Unreachable,
        Self::BreakerOpen,
        Self::Overloaded,
        Self::Timeout,
        Self::ConnectionLost,
        Self::Failed,
        Self::Rejected,
        Self::Malformed,
        Self::Store,
        Self::Other,
    ];

    /// The cause as a label: `unreachable`, `breaker_open`, and so on.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::BreakerOpen => "breaker_open",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::ConnectionLost => "connection_lost",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Malformed => "malformed",
            Self::Store => "store",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<&LimiterError> for Cause {
    fn from(error: &LimiterError) -> Self {
        match error {
            LimiterError::Unreachable { .. } => Self::Unreachable,
            LimiterError::BreakerOpen { .. } => Self::BreakerOpen,
            LimiterError::Overloaded { .. } => Self::Overloaded,
            LimiterError::Timeout { .. } => Self::Timeout,
            LimiterError::ConnectionLost { .. } => Self::ConnectionLost,
            LimiterError::Failed { .. } => Self::Failed,
            LimiterError::Rejected { .. } => Self::Rejected,
            LimiterError::Malformed(_) => Self::Malformed,
            LimiterError::Store(_) => Self::Store,
            _ => Self::Other,
        }
    }
}

/// Counts since the start, which a metrics endpoint may read at any time.
#[derive(Debug, Default)]
pub struct Counters {
    pub(crate) allowed: Counter,
    pub(crate) denied: Counter,
    undecided: [Counter; Cause::ALL.len()],
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    /// Checks and peeks that a limiter allowed.
    pub fn allowed(&self) -> u64 {
        self.allowed.get()
    }

    /// Checks and peeks that a limiter denied.
    pub fn denied(&self) -> u64 {
        self.denied.get()
    }

    /// Checks and peeks that no limiter decided, for `cause`.
    pub fn undecided(&self, cause: Cause) -> u64 {
        self.undecided[cause as usize].get()
    }

    /// Checks and peeks that no limiter decided, for any cause.
    pub fn all_undecided(&self) -> u64 {
        self.undecided.iter().map(Counter::get).sum()
    }

    pub(crate) fn count_undecided(&self, cause: Cause) {
        self.undecided[cause as usize].increment();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_a_counter_and_a_label_of_its_own() {
        let counters = Counters::default();
        for (place, cause) in Cause::ALL.into_iter().enumerate() {
            for _ in 0..=place {
                counters.count_undecided(cause);
            }
        }
        for (count, cause) in (1..).zip(Cause::ALL) {
            assert_eq!(counters.undecided(cause), count, "{cause}");
        }
        assert_eq!(counters.all_undecided(), 55);
        let labels: std::collections::HashSet<_> = Cause::ALL.map(Cause::as_str).into();
        assert_eq!(labels.len(), Cause::ALL.len());
    }
}
