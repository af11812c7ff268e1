//! Connections that are closed for what their callers do.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// The shortest time between two lines of the log on callers that have too many connections.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// There are as many as may be.
    Full,
    /// Its caller has as many as one may.
    CallerFull,
    /// It has taken none of its answers for long.
    Unread,
}

/// Counts them.
#[derive(Debug, Default)]
pub(crate) struct Closed {
    counts: [AtomicU64; Why::ALL.len()],
    caller_told: Mutex<Option<Instant>>,
}

impl Why {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Full, "full"),
        (Self::CallerFull, "caller_full"),
        (Self::Unread, "unread"),
    ];
}

impl Closed {
    pub(crate) fn count(&self, why: Why) {
        self.counts[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection of a caller that has `max`, and says so, if not lately.
    pub(crate) fn caller_full(&self, max: usize) {
        self.count(Why::CallerFull);
        let told = self.caller_told.lock();
        let mut told = told.unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
            *told = Some(Instant::now());
            tracing::warn!(
                max,
                "connections are closed: their caller has as many as one may"
            );
        }
    }

    /// Every reason is there from the start, so that a first one is an increase.
    pub(crate) fn series(&self) -> impl Iterator<Item = ([(&'static str, &'static str); 1], u64)> {
        Why::ALL.into_iter().map(|(why, name)| {
            let count = self.counts[why as usize].load(Ordering::Relaxed);
            ([("reason", name)], count)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_by_its_name() {
        let closed = Closed::default();
        closed.count(Why::Unread);
        closed.count(Why::Full);
        closed.caller_full(7);
        closed.caller_full(7);
        let counts: Vec<_> = closed
            .series()
            .map(|([(_, name)], count)| (name, count))
            .collect();
        assert_eq!(counts, [("full", 1), ("caller_full", 2), ("unread", 1)]);
    }
}
