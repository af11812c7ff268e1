//! What came of the checks.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use tonic::Code;

use super::{admission::Admissions, lane::Flight, pace::Span, wire::Verdict};

/// An hour, in nanoseconds; longer waits count as this.
const LONGEST: u64 = 3_600_000_000_000;

/// Numbers of checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) allowed: u64,
    pub(crate) denied: u64,
    /// Of those allowed and denied, how many were decided without the store.
    pub(crate) degraded: u64,
    /// By gRPC code.
    pub(crate) failed: BTreeMap<i32, u64>,
    /// Without an answer when the run was given up.
    pub(crate) unanswered: u64,
}

impl Counts {
    pub(crate) fn answered(&self) -> u64 {
        self.allowed + self.denied
    }

    pub(crate) fn sent(&self) -> u64 {
        self.answered() + self.failed.values().sum::<u64>() + self.unanswered
    }

    fn merge(&mut self, other: &Self) {
        self.allowed += other.allowed;
        self.denied += other.denied;
        self.degraded += other.degraded;
        self.unanswered += other.unanswered;
        for (&code, count) in &other.failed {
            *self.failed.entry(code).or_default() += count;
        }
    }
}

/// What one thread, or all together, have seen.
#[derive(Debug)]
pub(crate) struct Tally {
    span: Span,
    cost: u32,
    /// Of checks meant to go before the measured span.
    pub(crate) warm_up: Counts,
    /// Of all others.
    pub(crate) measured: Counts,
    /// From when a check was meant to go until its answer, in nanoseconds; measured checks that
    /// were decided.
    pub(crate) latency: Histogram<u64>,
    /// From when a check was meant to go until it went, in nanoseconds; measured checks.
    pub(crate) behind: Histogram<u64>,
    /// Of all checks, the warm-up included.
    pub(crate) admissions: Admissions,
    /// When the first check went, in nanoseconds from the start.
    pub(crate) first_sent: Option<u64>,
    /// When the last answer came.
    pub(crate) last_answer: u64,
    /// Checks that were meant to go and never have.
    pub(crate) unsent: u64,
    /// Answers to no check that was on its way.
    pub(crate) unexpected: u64,
}

impl Tally {
    pub(crate) fn new(span: Span, cost: u32, admissions: Admissions) -> anyhow::Result<Self> {
        // Three digits: a thousandth.
        let histogram = || Histogram::new_with_bounds(1, LONGEST, 3);
        Ok(Self {
            span,
            cost,
            warm_up: Counts::default(),
            measured: Counts::default(),
            latency: histogram()?,
            behind: histogram()?,
            admissions,
            first_sent: None,
            last_answer: 0,
            unsent: 0,
            unexpected: 0,
        })
    }

    /// The check was decided; the answer came at `now`.
    pub(crate) fn decided(&mut self, flight: Flight, verdict: &Verdict, now: u64) {
        let counts = self.gone(flight);
        counts.degraded += u64::from(verdict.degraded);
        if verdict.allowed {
            counts.allowed += 1;
        } else {
            counts.denied += 1;
        }
        if flight.intended >= self.span.warm_up {
            self.latency
                .saturating_record(now.saturating_sub(flight.intended));
        }
        self.last_answer = self.last_answer.max(now);
        if verdict.allowed && !verdict.degraded {
            self.admissions
                .admit(flight.key, &verdict.quotas, self.cost);
        }
    }

    /// There is no decision on the check, but a status.
    pub(crate) fn failed(&mut self, flight: Flight, code: Code) {
        *self.gone(flight).failed.entry(code.into()).or_default() += 1;
    }

    /// The check was given up.
    pub(crate) fn unanswered(&mut self, flight: Flight) {
        self.gone(flight).unanswered += 1;
    }

    fn gone(&mut self, flight: Flight) -> &mut Counts {
        let first = self.first_sent.get_or_insert(flight.sent);
        *first = flight.sent.min(*first);
        if flight.intended < self.span.warm_up {
            return &mut self.warm_up;
        }
        self.behind
            .saturating_record(flight.sent.saturating_sub(flight.intended));
        &mut self.measured
    }

    /// Adds what another thread has seen of the same run.
    pub(crate) fn merge(&mut self, other: Self) -> anyhow::Result<()> {
        self.warm_up.merge(&other.warm_up);
        self.measured.merge(&other.measured);
        self.latency.add(other.latency)?;
        self.behind.add(other.behind)?;
        self.admissions.merge(other.admissions);
        self.first_sent = self.first_sent.into_iter().chain(other.first_sent).min();
        self.last_answer = self.last_answer.max(other.last_answer);
        self.unsent += other.unsent;
        self.unexpected += other.unexpected;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{
        admission::{Kind, Quota},
        keys::Key,
    };

    const SPAN: Span = Span {
        warm_up: 1_000,
        end: 10_000,
    };
    const ALLOWED: Verdict = Verdict {
        allowed: true,
        degraded: false,
        quotas: [
            Some(Quota {
                capacity: 100,
                period: 1,
            }),
            None,
            None,
            None,
        ],
    };

    fn tally() -> Tally {
        Tally::new(SPAN, 2, Admissions::new(1, 1)).expect("histograms")
    }

    fn flight(intended: u64, sent: u64) -> Flight {
        Flight {
            slot: 0,
            key: Key { user: 0, tool: 0 },
            trace: None,
            intended,
            sent,
        }
    }

    #[test]
    fn latency_counts_from_when_a_check_was_meant_to_go() {
        let mut tally = tally();
        tally.decided(flight(2_000, 5_000), &ALLOWED, 6_000);
        assert_eq!(tally.latency.max(), 4_001); // the histogram's step at this size is 2
        assert_eq!(tally.behind.max(), 3_001);
    }

    #[test]
    fn the_warm_up_is_not_in_the_figures_but_its_admissions_count() {
        let mut tally = tally();
        tally.decided(flight(999, 1_001), &ALLOWED, 3_000);
        tally.decided(flight(1_000, 1_001), &ALLOWED, 3_000);
        assert_eq!((tally.warm_up.allowed, tally.measured.allowed), (1, 1));
        assert_eq!((tally.latency.len(), tally.behind.len()), (1, 1));
        let finding = tally
            .admissions
            .findings(std::time::Duration::ZERO)
            .remove(0);
        assert_eq!(
            (finding.kind, finding.worst.admitted),
            (Kind::ServerGlobal, 4)
        );
    }

    #[test]
    fn only_what_the_store_has_allowed_is_admitted() {
        let mut tally = tally();
        let (denied, degraded) = (
            Verdict {
                allowed: false,
                ..ALLOWED
            },
            Verdict {
                degraded: true,
                ..ALLOWED
            },
        );
        tally.decided(flight(2_000, 2_000), &denied, 3_000);
        tally.decided(flight(2_000, 2_000), &degraded, 3_000);
        tally.failed(flight(2_000, 2_000), Code::Unavailable);
        tally.unanswered(flight(2_000, 2_000));
        assert!(
            tally
                .admissions
                .findings(std::time::Duration::ZERO)
                .is_empty()
        );
        assert_eq!((tally.measured.allowed, tally.measured.degraded), (1, 1));
        assert_eq!(
            tally.latency.len(),
            2,
            "what has no decision has no latency"
        );
    }

    #[test]
    fn all_that_was_sent_is_in_one_count_and_threads_add_up() {
        let mut first = tally();
        first.decided(flight(2_000, 2_500), &ALLOWED, 3_000);
        first.failed(flight(2_000, 2_000), Code::Unavailable);
        let mut second = tally();
        second.failed(flight(2_000, 2_000), Code::Unavailable);
        second.failed(flight(2_000, 1_500), Code::Internal);
        second.unanswered(flight(2_000, 2_000));
        first.merge(second).expect("the same bounds");
        let counts = &first.measured;
        assert_eq!(counts.sent(), 5);
        assert_eq!(counts.answered(), 1);
        assert_eq!(counts.failed[&Code::Unavailable.into()], 2);
        assert_eq!((first.first_sent, first.last_answer), (Some(1_500), 3_000));
    }
}
