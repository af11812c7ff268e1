//! Waits between attempts: doubling, bounded, and never the same for two clients.

use std::time::Duration;

/// How long to wait between attempts that fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait after the first failure. Each further one doubles it.
    pub first: Duration,
    /// Where doubling ends.
    pub longest: Duration,
}

/// One series of failures.
#[derive(Clone, Debug)]
pub(crate) struct Waits {
    backoff: Backoff,
    failures: u32,
}

impl Waits {
    pub(crate) const fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            failures: 0,
        }
    }

    /// The wait after one more failure: at least half of the doubled time, at most all of it, so
    /// that the clients that lost a limiter together do not come back together.
    pub(crate) fn next(&mut self, random: &mut fastrand::Rng) -> Duration {
        let doubled = self
            .backoff
            .first
            .saturating_mul(1 << self.failures.min(30));
        let longest = doubled.min(self.backoff.longest);
        self.failures = self.failures.saturating_add(1);
        longest.mul_f64(0.5 + 0.5 * random.f64())
    }

    /// It worked: the next failure is the first again.
    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_millis(100),
        longest: Duration::from_secs(5),
    };

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let random = &mut fastrand::Rng::with_seed(1);
        let mut waits = Waits::new(BACKOFF);
        for round in 0..2 {
            for most_millis in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
                let (wait, most) = (waits.next(random), Duration::from_millis(most_millis));
                assert!(
                    wait <= most && wait >= most / 2,
                    "{round}: {wait:?} of {most:?}"
                );
            }
            waits.reset();
        }
    }

    #[test]
    fn a_thousand_failures_are_no_overflow() {
        let mut waits = Waits::new(BACKOFF);
        for _ in 0..1_000 {
            assert!(waits.next(&mut fastrand::Rng::with_seed(2)) <= BACKOFF.longest);
        }
    }

    #[test]
    fn two_clients_wait_for_different_times() {
        let first_wait = |seed| Waits::new(BACKOFF).next(&mut fastrand::Rng::with_seed(seed));
        assert_ne!(first_wait(1), first_wait(2));
    }
}
