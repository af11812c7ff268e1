//! Connections that are closed for what their callers do.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// The shortest time between two lines of the log on one reason.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// There are as many as may be.
    Full,
    /// Its caller has as many as one may.
    CallerFull,
    /// As many as may wait for a TLS handshake, or for their worker.
    Waiting,
    /// It has left answers untaken for long.
    Unread,
    /// It has sent too many frames that carry nothing.
    Flood,
}

/// Counts them, and tells of each reason once in a while.
#[derive(Debug, Default)]
pub(crate) struct Closed {
    counts: [AtomicU64; Why::ALL.len()],
    told: Mutex<[Option<Instant>; Why::ALL.len()]>,
}

impl Why {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Full, "full"),
        (Self::CallerFull, "caller_full"),
        (Self::Waiting, "waiting"),
        (Self::Unread, "unread"),
        (Self::Flood, "flood"),
    ];

    const fn reason(self) -> &'static str {
        match self {
            Self::Full => "there are as many as may be (connections.max)",
            Self::CallerFull => "their caller has as many as one may (connections.maxPerCaller)",
            Self::Waiting => "too many wait for a TLS handshake, or for their worker",
            Self::Flood => "they sent a flood of HTTP/2 frames that carry nothing",
            Self::Unread => "they left answers untaken for connections.unreadTimeout",
        }
    }
}

impl Closed {
    /// Counts a connection, and says so, if not lately.
    pub(crate) fn count(&self, why: Why) {
        self.counts[why as usize].fetch_add(1, Ordering::Relaxed);
        if self.is_news(why, Instant::now()) {
            tracing::warn!("connections are closed: {}", why.reason());
        }
    }

    fn is_news(&self, why: Why, now: Instant) -> bool {
        // It is changed in one step, so a poisoned lock is as good as any.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let told = &mut told[why as usize];
        let is_news = told.is_none_or(|told| now.saturating_duration_since(told) >= TOLD_EVERY);
        if is_news {
            *told = Some(now);
        }
        is_news
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
        for (many, (why, _)) in (1..).zip(Why::ALL) {
            (0..many).for_each(|_| closed.count(why));
        }
        let counts: Vec<_> = closed
            .series()
            .map(|([(_, name)], count)| (name, count))
            .collect();
        assert_eq!(
            counts,
            [
                ("full", 1),
                ("caller_full", 2),
                ("waiting", 3),
                ("unread", 4),
                ("flood", 5)
            ]
        );
    }

    #[test]
    fn each_reason_is_news_once_a_minute() {
        let (closed, now) = (Closed::default(), Instant::now());
        for minute in 0..3 {
            let now = now + TOLD_EVERY * minute;
            for (why, _) in Why::ALL {
                assert!(closed.is_news(why, now));
                assert!(!closed.is_news(why, now + TOLD_EVERY / 2));
            }
        }
    }
}
