//! When to probe, and when an outage is told and over: the course of probes, as values.

use std::time::Duration;

use tokio::time::Instant;

use super::KEPT;

/// While all is well.
const INTERVAL: Duration = Duration::from_secs(1);

/// The longest pauses after failures: from the first, doubling, to the second. Real ones are
/// shorter by up to a half, so that the replicas that lost a store together do not probe together.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));

/// So many failures in a row are an outage that is told. A shorter one shows nobody the door.
const FAILURES: u32 = 3;

/// A store that fails again sooner is not trusted at once a second time.
const SETTLED: Duration = Duration::from_secs(1);

/// What the probes have shown so far.
#[derive(Debug)]
pub(crate) struct Course {
    /// Probes that failed in a row.
    failures: u32,
    /// When the first of them did.
    failing_since: Option<Instant>,
    /// Probes in a row that have found a part of the store that does not decide.
    partial: u32,
    /// The longest pause after the next failure.
    retry: Duration,
    closed: Option<Instant>,
    /// When local buckets were last in use, or just had been, and the store decided.
    local_used: Option<Instant>,
    random: fastrand::Rng,
}

impl Course {
    pub(crate) fn new() -> Self {
        Self {
            failures: 0,
            failing_since: None,
            partial: 0,
            retry: RETRY.0,
            closed: None,
            local_used: None,
            random: fastrand::Rng::new(),
        }
    }

    /// A probe has succeeded, and ended an outage if `was_open`; the pause until the next.
    pub(crate) fn succeeded(&mut self, was_open: bool, now: Instant) -> Duration {
        self.checks_are_decided();
        if was_open {
            self.closed = Some(now);
        } else if self.is_settled(now) {
            self.retry = RETRY.0;
        }
        INTERVAL
    }

    /// A probe has failed; the pause until the next.
    pub(crate) fn failed(&mut self, now: Instant) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert(now);
        self.next_retry()
    }

    /// The probes that failed so far say nothing: checks are decided.
    pub(crate) const fn checks_are_decided(&mut self) {
        self.failures = 0;
        self.failing_since = None;
    }

    /// Whether so many probes have failed, for so long at least, that the outage is told.
    pub(crate) fn is_outage(&self, now: Instant, at_least: Duration) -> bool {
        let lasts = |since| now.saturating_duration_since(since) >= at_least;
        self.failures >= FAILURES && self.failing_since.is_some_and(lasts)
    }

    /// A probe has found a part of the store that does not decide. Whether so many have that it is
    /// told.
    pub(crate) const fn lacks_a_part(&mut self) -> bool {
        self.partial = self.partial.saturating_add(1);
        self.partial >= FAILURES
    }

    /// A probe has found that all of the store decides.
    pub(crate) const fn is_whole(&mut self) {
        self.partial = 0;
    }

    /// A check has opened the breaker; the pause until the probe.
    pub(crate) fn tripped(&mut self, now: Instant) -> Duration {
        if self.is_settled(now) {
            Duration::ZERO
        } else {
            self.next_retry()
        }
    }

    /// A probe has succeeded, and local buckets were in use since the one before that did, if
    /// `was_used`. Whether they are to be dropped now.
    pub(crate) fn drops_local(&mut self, was_used: bool, now: Instant) -> bool {
        if was_used {
            self.local_used = Some(now);
        }
        let is_over = |used| now.saturating_duration_since(used) >= KEPT;
        self.local_used.take_if(|used| is_over(*used)).is_some()
    }

    fn is_settled(&self, now: Instant) -> bool {
        let settled = |closed| now.saturating_duration_since(closed) >= SETTLED;
        self.closed.is_none_or(settled)
    }

    fn next_retry(&mut self) -> Duration {
        let pause = self.retry.mul_f64(0.5 + 0.5 * self.random.f64());
        self.retry = (self.retry * 2).min(RETRY.1);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn pauses_double_up_to_the_longest_and_no_two_replicas_pause_alike() {
        let (mut course, now) = (Course::new(), Instant::now());
        for most in [100, 200, 400, 500, 500].map(Duration::from_millis) {
            let pause = course.failed(now);
            assert!(pause <= most && pause >= most / 2, "{pause:?} of {most:?}");
        }
        assert_ne!(course.failed(now), Course::new().failed(now));
    }

    #[test]
    fn an_outage_is_told_after_three_failures_and_over_with_one_success() {
        let (mut course, now) = (Course::new(), Instant::now());
        for is_outage in [false, false, true, true] {
            course.failed(now);
            assert_eq!(course.is_outage(now, Duration::ZERO), is_outage);
        }
        assert_eq!(course.succeeded(true, now), INTERVAL);
        assert!(!course.is_outage(now, Duration::ZERO));
    }

    #[test]
    fn late_probes_are_an_outage_only_if_no_check_is_decided_for_long_enough() {
        let (mut course, start) = (Course::new(), Instant::now());
        for _ in 0..2 * FAILURES {
            course.failed(start);
        }
        let almost = start + SETTLED - MILLI;
        assert!(!course.is_outage(almost, SETTLED));
        assert!(course.is_outage(start + SETTLED, SETTLED));
        course.checks_are_decided();
        course.failed(start + SETTLED);
        assert!(!course.is_outage(start + 2 * SETTLED, SETTLED));
    }

    #[test]
    fn a_part_that_is_down_is_told_after_three_probes() {
        let mut course = Course::new();
        assert_eq!(
            [(); 4].map(|()| course.lacks_a_part()),
            [false, false, true, true]
        );
        course.is_whole();
        assert!(!course.lacks_a_part());
    }

    #[test]
    fn a_check_that_fails_is_followed_by_a_probe_at_once_unless_the_store_flaps() {
        let (mut course, start) = (Course::new(), Instant::now());
        assert_eq!(course.tripped(start), Duration::ZERO);
        course.succeeded(true, start);
        let soon = start + SETTLED - MILLI;
        assert!(course.tripped(soon) >= RETRY.0 / 2);
        assert!(course.tripped(soon) >= RETRY.0, "and longer each time");
        course.succeeded(true, soon);
        course.succeeded(false, soon + SETTLED);
        assert_eq!(course.tripped(soon + SETTLED), Duration::ZERO);
        assert!(course.failed(start) <= RETRY.0, "pauses begin anew");
    }

    /// A store that comes and goes must not hand out a fresh local burst each time.
    #[test]
    fn local_buckets_are_dropped_once_when_they_have_not_been_needed_for_long_enough() {
        let (mut course, start) = (Course::new(), Instant::now());
        assert!(!course.drops_local(false, start), "none was used");
        assert!(!course.drops_local(true, start));
        let again = start + KEPT - MILLI;
        assert!(!course.drops_local(true, again));
        assert!(!course.drops_local(false, start + KEPT), "another outage");
        assert!(!course.drops_local(false, again + KEPT - MILLI));
        assert!(course.drops_local(false, again + KEPT));
        assert!(!course.drops_local(false, again + 2 * KEPT), "once");
    }
}
