//! The very first attempt to connect, the only one that checks wait for.
//!
//! It is over when a replica is connected or all have failed, and also at the deadline of the first
//! check that waits: then those after it need not, even if that one was given up in between.

use std::sync::{
    OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

#[derive(Debug)]
pub(crate) struct Start {
    over: watch::Sender<bool>,
    attempts: AtomicUsize,
    /// The deadline of the first check that waits.
    patience: OnceLock<Instant>,
}

impl Start {
    /// A start of which `attempts` are under way.
    pub(crate) fn new(attempts: usize) -> Self {
        Self {
            over: watch::Sender::new(false),
            attempts: AtomicUsize::new(attempts),
            patience: OnceLock::new(),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Waits until it is over, for a check with this `deadline`.
    pub(crate) async fn over(&self, deadline: Instant) {
        let until = *self.patience.get_or_init(|| deadline);
        let mut over = self.over.subscribe();
        // The sender is this value's own, so it is not closed.
        if timeout_at(until, over.wait_for(|over| *over))
            .await
            .is_err()
        {
            self.end();
        }
    }

    /// Nobody needs to wait any more.
    pub(crate) fn end(&self) {
        self.over.send_replace(true);
    }

    /// More attempts begin.
    pub(crate) fn add(&self, attempts: usize) {
        self.attempts.fetch_add(attempts, Ordering::SeqCst);
    }

    /// An attempt is over without success.
    pub(crate) fn attempt_ended(&self) {
        if self.attempts.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const WAIT: Duration = Duration::from_millis(50);

    #[test]
    fn it_is_over_when_all_attempts_are() {
        let start = Start::new(1);
        start.add(2);
        for _ in 0..2 {
            start.attempt_ended();
            assert!(!start.is_over());
        }
        start.attempt_ended();
        assert!(start.is_over());
    }

    #[tokio::test]
    async fn who_waits_is_told_and_who_comes_later_does_not_wait() {
        let start = Start::new(1);
        let deadline = Instant::now() + WAIT;
        futures::join!(start.over(deadline), async { start.end() });
        start.over(deadline).await;
    }

    #[tokio::test(start_paused = true)]
    async fn callers_that_all_give_up_soon_wait_no_longer_together_than_one_check_may() {
        let (start, began) = (Start::new(1), Instant::now());
        while !start.is_over() {
            assert!(began.elapsed() <= WAIT);
            let patience = Duration::from_millis(10);
            let _ = timeout(patience, start.over(Instant::now() + WAIT)).await;
        }
        assert_eq!(began.elapsed(), WAIT);
    }
}
