//! Which checks are looked at.

use toolgate_limit::Timestamp;

/// So many checks a second are looked at one by one.
const FULL: u32 = 500;

/// Of those beyond, the longest distance from one to the next. All up to it are as likely, so it is
/// half of that on average, and no pattern among the checks falls in step with it.
const LONGEST_GAP: usize = 63;

/// Takes every check of a quiet worker, and of a busy one, beyond the first of each second, one in
/// 32: what that costs hardly grows with the load.
///
/// A sample stands for itself and for those that were passed over before it, so all samples together
/// stand for all checks.
#[derive(Debug)]
pub(super) struct Sampling {
    gap: usize,
    second: u64,
    samples: u32,
    random: fastrand::Rng,
}

impl Sampling {
    pub(super) fn new(random: fastrand::Rng) -> Self {
        Self {
            gap: 1,
            second: 0,
            samples: 0,
            random,
        }
    }

    /// A sample is taken at `now`: how many checks it stands for, and how many to pass over before
    /// the next one.
    pub(super) fn take(&mut self, now: Timestamp) -> (usize, usize) {
        let second = now.as_micros() / 1_000_000;
        if second != self.second {
            (self.second, self.samples) = (second, 0);
        }
        self.samples = self.samples.saturating_add(1);
        let next = if self.samples <= FULL {
            1
        } else {
            self.random.usize(1..=LONGEST_GAP)
        };
        (std::mem::replace(&mut self.gap, next), next - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_quiet_worker_is_looked_at_check_by_check() {
        let mut sampling = Sampling::new(fastrand::Rng::with_seed(1));
        let mut now = Timestamp::default() + SECOND;
        for _ in 0..10 {
            for _ in 0..FULL {
                assert_eq!(sampling.take(now), (1, 0));
            }
            now = now + SECOND;
        }
    }

    #[test]
    fn a_busy_one_is_looked_at_rarely_and_samples_stand_for_all() {
        let mut sampling = Sampling::new(fastrand::Rng::with_seed(1));
        let now = Timestamp::default() + SECOND;
        let (mut samples, mut stood_for, mut passed) = (0_usize, 0, 0);
        while samples + passed < 100_000 {
            let (stands_for, pass) = sampling.take(now);
            samples += 1;
            stood_for += stands_for;
            assert_eq!(stood_for, samples + passed);
            passed += pass;
        }
        let expected = 500 + 99_500 / 32;
        assert!(samples.abs_diff(expected) < 300, "{samples} of {expected}");
        // With the next second it begins anew.
        sampling.take(now + SECOND);
        assert_eq!(sampling.take(now + SECOND).1, 0);
    }
}
