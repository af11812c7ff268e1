//! What one connection may hold of what all share.
//!
//! A check of a stream counts from when it is read until HTTP/2 has taken its answer. So one bound
//! covers the checks of a connection that are being decided, its places in the store's queue, and the
//! answers that its caller leaves unread. At the bound the streams of the connection are not read, and
//! HTTP/2 flow control holds the caller back. Nobody else is concerned.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::sleep};

/// The most bytes of text that the checks of one connection hold. One group more may be read.
const MAX_BYTES: usize = 1024 * 1024;

/// How often [`Share::stalled`] looks within its patience.
const LOOKS: usize = 4;

/// An answer to a single call has one of so many ages, counted in looks.
const AGES: usize = LOOKS + 2;

/// The share of one connection.
#[derive(Debug)]
pub(crate) struct Share {
    max_checks: usize,
    checks: AtomicUsize,
    bytes: AtomicUsize,
    /// There is room again.
    freed: Notify,
    /// Answers that are made and not taken. Those of one group count once.
    unread: AtomicUsize,
    /// Answers that were taken. It wraps.
    taken: AtomicUsize,
    /// Answers to single calls that are not taken, by the look before which they were made.
    singles: [AtomicUsize; AGES],
    /// The looks so far. It wraps at `AGES`.
    look: AtomicUsize,
}

/// Checks that count against a share, until dropped.
#[derive(Debug)]
pub(super) struct Held {
    of: Arc<Share>,
    checks: usize,
    bytes: usize,
}

/// An answer that waits to be taken, until dropped.
#[derive(Debug)]
pub(crate) struct Unread {
    of: Arc<Share>,
    /// Of a single call: the place of its age.
    age: Option<usize>,
}

impl Share {
    /// Room for `max_checks`. One group more may be read.
    pub(crate) fn new(max_checks: usize) -> Arc<Self> {
        Arc::new(Self {
            max_checks,
            checks: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            freed: Notify::new(),
            unread: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            singles: [const { AtomicUsize::new(0) }; AGES],
            look: AtomicUsize::new(0),
        })
    }

    /// Whether nothing more is to be read.
    pub(super) fn is_full(&self) -> bool {
        self.checks.load(Ordering::Relaxed) >= self.max_checks
            || self.bytes.load(Ordering::Relaxed) >= MAX_BYTES
    }

    /// Done when something may be read.
    pub(super) async fn room(&self) {
        loop {
            // Before the look, or room that comes in between would be missed.
            let freed = self.freed.notified();
            if !self.is_full() {
                return;
            }
            freed.await;
        }
    }

    /// Counts checks that have been read. None at first.
    pub(super) fn hold(self: &Arc<Self>) -> Held {
        Held {
            of: Arc::clone(self),
            checks: 0,
            bytes: 0,
        }
    }

    /// Counts an answer of a stream that waits to be taken.
    pub(crate) fn unread(self: &Arc<Self>) -> Unread {
        self.unread.fetch_add(1, Ordering::Relaxed);
        Unread {
            of: Arc::clone(self),
            age: None,
        }
    }

    /// Counts an answer to a single call. Each of them must be taken in time: while it waits it holds a
    /// place among the calls, and answers that are taken beside it do not free that place.
    pub(crate) fn unread_single(self: &Arc<Self>) -> Unread {
        let age = self.look.load(Ordering::Relaxed);
        self.singles[age].fetch_add(1, Ordering::Relaxed);
        Unread {
            of: Arc::clone(self),
            age: Some(age),
        }
    }

    /// Done when answers of streams were there and none was taken for all of `patience`, or an answer to
    /// a single call was not taken for as long.
    pub(crate) async fn stalled(&self, patience: Duration) {
        let pause = patience / u32::try_from(LOOKS).unwrap_or(1);
        let (mut idle, mut seen) = (0, self.taken.load(Ordering::Relaxed));
        while idle <= LOOKS {
            sleep(pause).await;
            let taken = self.taken.load(Ordering::Relaxed);
            let waits = self.unread.load(Ordering::Relaxed) > 0;
            idle = if waits && taken == seen { idle + 1 } else { 0 };
            seen = taken;
            let next = (self.look.load(Ordering::Relaxed) + 1) % AGES;
            // What is there yet was made a whole round of looks ago.
            if self.singles[next].load(Ordering::Relaxed) > 0 {
                return;
            }
            self.look.store(next, Ordering::Relaxed);
        }
    }
}

impl Held {
    /// Counts one check more, with its bytes of text.
    pub(super) fn one_more(&mut self, bytes: usize) {
        self.of.checks.fetch_add(1, Ordering::Relaxed);
        self.of.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.checks += 1;
        self.bytes += bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let was_full = self.of.is_full();
        self.of.checks.fetch_sub(self.checks, Ordering::Relaxed);
        self.of.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        if was_full {
            self.of.freed.notify_waiters();
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        match self.age {
            None => {
                self.of.unread.fetch_sub(1, Ordering::Relaxed);
                self.of.taken.fetch_add(1, Ordering::Relaxed);
            }
            Some(age) => {
                self.of.singles[age].fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn a_share_is_full_of_checks_or_of_bytes_and_has_room_when_they_go() {
        let share = Share::new(10);
        for (checks, bytes) in [(10, 0), (1, MAX_BYTES)] {
            let mut held = share.hold();
            (1..checks).for_each(|_| held.one_more(0));
            held.one_more(bytes);
            assert!(share.is_full());
            let mut room = Box::pin(share.room());
            assert!(room.as_mut().now_or_never().is_none());
            drop(held);
            assert!(room.now_or_never().is_some());
        }
        let mut held = share.hold();
        held.one_more(MAX_BYTES - 1);
        assert!(!share.is_full());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_stalls_when_it_takes_no_answer_and_only_then() {
        let (share, patience) = (Share::new(10), Duration::from_secs(10));
        let stalled = |of: Arc<Share>| async move { of.stalled(patience).await };
        let quiet = tokio::time::timeout(patience * 10, stalled(Arc::clone(&share)));
        quiet.await.expect_err("nothing waits");
        // One always waits, and each is taken in time.
        let mut last = share.unread();
        let slow = tokio::spawn(stalled(Arc::clone(&share)));
        for _ in 0..20 {
            sleep(patience / 2).await;
            last = share.unread();
        }
        assert!(!slow.is_finished());
        let since = Instant::now();
        slow.await.expect("no panic");
        assert!((patience..patience * 2).contains(&since.elapsed()));
        drop(last);
    }

    /// One answer that is taken now and then kept the places of all the others.
    #[tokio::test(start_paused = true)]
    async fn an_answer_to_a_single_call_must_be_taken_in_time_whatever_else_is_taken() {
        let (share, patience) = (Share::new(10), Duration::from_secs(10));
        let stalled = |of: Arc<Share>| async move { of.stalled(patience).await };
        for first_after in [0, 3, 7, 60] {
            let watched = tokio::spawn(stalled(Arc::clone(&share)));
            for _ in 0..first_after {
                let taken_late = share.unread_single();
                sleep(patience * 9 / 10).await;
                drop(taken_late);
                drop(share.unread());
            }
            assert!(!watched.is_finished(), "each was taken in time");
            let (left, since) = (share.unread_single(), Instant::now());
            while !watched.is_finished() {
                assert!(since.elapsed() < patience * 2, "it keeps its place");
                drop((share.unread(), share.unread_single()));
                sleep(patience / 100).await;
            }
            assert!(since.elapsed() >= patience);
            drop(left);
        }
    }
}
