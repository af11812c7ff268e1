//! How long to wait before the next attempt to connect.

use std::time::Duration;

/// A connection that has lived for so long was a good one.
const STEADY: Duration = Duration::from_secs(10);

/// Waits that double from one failure to the next, up to a maximum. The first time that a connection is
/// lost there is none: most backends that restart are back at once.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    is_at_once: bool,
}

impl Backoff {
    pub(super) const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
            is_at_once: true,
        }
    }

    /// The wait after one more failure to connect: half of it fixed and half random, so that replicas
    /// which lost a backend together do not come back together.
    pub(super) fn after_failure(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.longest);
        wait.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// The wait after the loss of a connection that was there for `lived`. One that is lost again and again
    /// is as bad as none.
    pub(super) fn after_loss(&mut self, lived: Duration) -> Duration {
        if lived >= STEADY {
            *self = Self::new(self.first, self.longest);
        }
        if std::mem::take(&mut self.is_at_once) {
            self.next = self.first;
            return Duration::ZERO;
        }
        self.after_failure()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(5));
        let mut backoff = Backoff::new(first, longest);
        for seconds in [1, 2, 4, 5, 5] {
            let wait = backoff.after_failure();
            let full = Duration::from_secs(seconds);
            assert!(full / 2 <= wait && wait <= full, "{wait:?} of {full:?}");
        }
    }

    #[test]
    fn a_lost_connection_is_made_again_at_once_but_not_one_that_is_lost_again_and_again() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(5));
        let mut backoff = Backoff::new(first, longest);
        for _ in 0..2 {
            assert_eq!(backoff.after_loss(STEADY), Duration::ZERO);
            let soon = STEADY.mul_f64(0.9);
            for seconds in [1, 2, 4, 5] {
                let (wait, full) = (backoff.after_loss(soon), Duration::from_secs(seconds));
                assert!(full / 2 <= wait && wait <= full, "{wait:?} of {full:?}");
            }
        }
    }
}
