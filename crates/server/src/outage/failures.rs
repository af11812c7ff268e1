//! What checks themselves have met of late.
//!
//! A probe is one check of one bucket. It passes where checks of others fail: on a path that loses
//! large requests, with a right that only some keys lack, on a node that a cluster announces under a
//! wrong address. So failures of checks that come back count as an outage, whatever probes say.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use toolgate_limit::StoreError;

/// So many times checks must fail before it is told. One lost connection is none of them twice.
const TIMES: u32 = 3;

/// Failures that are closer together count once.
const APART: Duration = Duration::from_millis(50);

/// After so long without a failure all is well again.
const OF_LATE: Duration = Duration::from_secs(5);

/// The most parts of a store that are told apart.
const MAX_PARTS: usize = 16;

/// Why checks have failed of late.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    whole: Option<Failing>,
    /// By their names. What is said of a part varies.
    parts: BTreeMap<Arc<str>, Failing>,
}

#[derive(Debug)]
struct Failing {
    reason: String,
    times: u32,
    latest: Instant,
}

/// What the failures of checks come to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Checks are decided.
    Well,
    /// Those of some parts of the store are not, for these reasons.
    Parts(Vec<String>),
    /// Hardly any is, for this reason.
    Outage(String),
}

impl Failures {
    /// A check has failed, and opened the breaker unless `error` concerns a part of the store.
    pub(crate) fn note(&self, error: &StoreError, now: Instant) {
        let reason = error.to_string();
        let mut kept = self.kept();
        let StoreError::Partial { part, .. } = error else {
            let whole = kept.whole.get_or_insert_with(|| Failing::new(now));
            whole.again(reason, now);
            return;
        };
        if !kept.parts.contains_key(part) && kept.parts.len() >= MAX_PARTS {
            kept.parts.retain(|_, part| part.is_of_late(now));
            if kept.parts.len() >= MAX_PARTS {
                return;
            }
        }
        let part = kept.parts.entry(Arc::clone(part));
        part.or_insert_with(|| Failing::new(now)).again(reason, now);
    }

    /// What that comes to at `now`.
    pub(crate) fn verdict(&self, now: Instant) -> Verdict {
        let kept = self.kept();
        if let Some(whole) = kept.whole.as_ref().filter(|whole| whole.is_told(now)) {
            return Verdict::Outage(whole.reason.clone());
        }
        let told = kept.parts.values().filter(|part| part.is_told(now));
        let reasons: Vec<_> = told.map(|part| part.reason.clone()).collect();
        if reasons.is_empty() {
            Verdict::Well
        } else {
            Verdict::Parts(reasons)
        }
    }

    /// No update is ever left half done by a panic, so a poisoned lock is as good as any.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failing {
    const fn new(now: Instant) -> Self {
        Self {
            reason: String::new(),
            times: 0,
            latest: now,
        }
    }

    fn again(&mut self, reason: String, now: Instant) {
        if !self.is_of_late(now) {
            self.times = 0;
        }
        if self.times == 0 || now.saturating_duration_since(self.latest) >= APART {
            self.times = self.times.saturating_add(1);
            self.latest = now;
        }
        self.reason = reason;
    }

    fn is_of_late(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.latest) < OF_LATE
    }

    fn is_told(&self, now: Instant) -> bool {
        self.times >= TIMES && self.is_of_late(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(by: &str) -> StoreError {
        StoreError::Unavailable {
            kind: "noperm",
            reason: by.to_owned(),
            source: None,
        }
    }

    fn of_part(node: &str) -> StoreError {
        said_of(node, "no rights")
    }

    fn said_of(node: &str, reason: &str) -> StoreError {
        StoreError::Partial {
            part: node.into(),
            error: Box::new(refused(reason)),
        }
    }

    #[test]
    fn failures_that_come_back_are_told_until_they_stop() {
        let failures = Failures::default();
        let began = Instant::now();
        for time in 0..TIMES {
            assert_eq!(failures.verdict(began + APART * time), Verdict::Well);
            // All checks of one batch are one failure.
            for _ in 0..64 {
                failures.note(&refused("redis"), began + APART * time);
            }
        }
        let latest = began + APART * (TIMES - 1);
        let told = Verdict::Outage(refused("redis").to_string());
        assert_eq!(failures.verdict(latest), told);
        let almost = latest + OF_LATE - Duration::from_millis(1);
        assert_eq!(failures.verdict(almost), told);
        assert_eq!(failures.verdict(latest + OF_LATE), Verdict::Well);
        // One more is the first of its own.
        failures.note(&refused("redis"), latest + OF_LATE);
        assert_eq!(failures.verdict(latest + OF_LATE), Verdict::Well);
    }

    #[test]
    fn parts_are_told_by_name_and_never_hide_an_outage() {
        let failures = Failures::default();
        let mut now = Instant::now();
        for _ in 0..TIMES {
            now += APART;
            failures.note(&of_part("a"), now);
            failures.note(&of_part("b"), now);
        }
        failures.note(&of_part("c"), now);
        let both = vec![of_part("a").to_string(), of_part("b").to_string()];
        assert_eq!(failures.verdict(now), Verdict::Parts(both));
        for _ in 0..TIMES {
            now += APART;
            failures.note(&refused("all"), now);
        }
        let all = Verdict::Outage(refused("all").to_string());
        assert_eq!(failures.verdict(now), all);
    }

    /// One node whose reasons vary took all places, and no other was told. Nor was it, as no reason
    /// came back.
    #[test]
    fn a_part_is_one_whatever_is_said_of_it() {
        let failures = Failures::default();
        let mut now = Instant::now();
        for slot in 0..10 * MAX_PARTS {
            now += APART;
            failures.note(&said_of("a", &format!("slot {slot}")), now);
        }
        for _ in 0..TIMES {
            now += APART;
            failures.note(&of_part("b"), now);
        }
        let latest = said_of("a", &format!("slot {}", 10 * MAX_PARTS - 1));
        let both = vec![latest.to_string(), of_part("b").to_string()];
        assert_eq!(failures.verdict(now), Verdict::Parts(both));
    }

    #[test]
    fn the_parts_that_are_kept_have_a_bound_and_old_ones_make_room() {
        let failures = Failures::default();
        let now = Instant::now();
        for part in 0..10 * MAX_PARTS {
            failures.note(&of_part(&part.to_string()), now);
        }
        assert_eq!(failures.kept().parts.len(), MAX_PARTS);
        failures.note(&of_part("new"), now + OF_LATE);
        assert_eq!(failures.kept().parts.len(), 1);
    }
}
