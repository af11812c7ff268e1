//! The very first attempt to connect, the only one that checks wait for.
//!
//! It is over when a replica is connected or all have failed, and also when one check has waited
//! for its whole deadline in vain: then those after it need not.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

#[derive(Debug)]
pub(crate) struct Start {
    over: watch::Sender<bool>,
    attempts: AtomicUsize,
}

impl Start {
    /// A start of which `attempts` are under way.
    pub(crate) fn new(attempts: usize) -> Self {
        Self {
            over: watch::Sender::new(false),
            attempts: AtomicUsize::new(attempts),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Waits until it is over.
    pub(crate) async fn over(&self) {
        // The sender is this value's own, so it is not closed.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
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
    use super::*;

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
        futures::join!(start.over(), async { start.end() });
        start.over().await;
    }
}
