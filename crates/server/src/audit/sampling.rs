//! Which denials the audit stream shows: a share of them, and no more than so many a second.
//!
//! The bound is a token bucket, the one that limits calls.

use std::{num::NonZeroU32, time::Duration};

use toolgate_limit::{Bucket, Quota, Timestamp};

/// Decides which denials are shown, and counts those that are not for want of room.
#[derive(Debug)]
pub(super) struct Sampling {
    ratio: f64,
    /// Tokens are lines.
    bucket: Bucket,
    /// Lines that are missing since the last that was shown.
    dropped: u64,
    random: fastrand::Rng,
}

impl Sampling {
    /// Shows a share of `ratio`, and no more than `max_per_second`.
    pub(super) fn new(ratio: f64, max_per_second: NonZeroU32, now: Timestamp) -> Self {
        let most = i32::MAX.unsigned_abs();
        let quota = Quota::new(max_per_second.get().min(most), Duration::from_secs(1));
        Self {
            ratio,
            bucket: Bucket::full(
                quota.unwrap_or_else(|_| unreachable!("from 1 to the most in a second")),
                now,
            ),
            dropped: 0,
            random: fastrand::Rng::new(),
        }
    }

    /// Whether a denial at `now` is to be shown.
    pub(super) fn shows(&mut self, now: Timestamp) -> bool {
        if self.ratio < 1.0 && self.random.f64() >= self.ratio {
            return false;
        }
        self.bucket = self.bucket.at(self.bucket.quota(), now);
        let has_room = self.bucket.take(1);
        if !has_room {
            self.drop_some(1);
        }
        has_room
    }

    /// Lines that would have been shown and were not, since the last that was.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// A line was shown, and said what is missing.
    pub(super) const fn shown(&mut self) {
        self.dropped = 0;
    }

    /// Lines that should have been shown were not.
    pub(super) const fn drop_some(&mut self, lines: u64) {
        self.dropped += lines;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(ratio: f64, most: u32) -> Sampling {
        let most = NonZeroU32::new(most).expect("not zero");
        Sampling::new(ratio, most, Timestamp::default())
    }

    fn shown(sampling: &mut Sampling, denials: u32, at: Duration) -> usize {
        let now = Timestamp::default() + at;
        (0..denials).filter(|_| sampling.shows(now)).count()
    }

    #[test]
    fn no_more_lines_are_shown_than_the_bound_and_the_others_are_counted() {
        let mut sampling = sampling(1.0, 10);
        assert_eq!(shown(&mut sampling, 25, Duration::ZERO), 10);
        assert_eq!(sampling.dropped(), 15);
        assert_eq!(shown(&mut sampling, 25, Duration::from_millis(500)), 5);
        assert_eq!(sampling.dropped(), 35);
        sampling.shown();
        assert_eq!(sampling.dropped(), 0);
    }

    #[test]
    fn a_share_is_shown_and_what_is_not_of_it_is_not_missing() {
        let mut sampling = sampling(0.1, 1_000_000);
        let shown = shown(&mut sampling, 100_000, Duration::ZERO);
        // Ten standard deviations.
        assert!((9_000..11_000).contains(&shown), "{shown}");
        assert_eq!(sampling.dropped(), 0);
    }
}
