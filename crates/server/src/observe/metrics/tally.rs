//! What one worker has decided.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use toolgate_limit::{Clock as _, Policies as _, SystemClock};
use toolgate_policy::Registry;
use toolgate_telemetry::{Distribution, Exemplar};

use super::{CHECK_SECONDS, CheckErrors, counts::Counts};
use crate::observe::{Decided, Observer};

/// Counts the checks of one worker. Nobody shares its lock but a scrape, which copies the counts and
/// goes.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Checks that were not decided; they are counted with the error that their callers get.
    pub(crate) errors: CheckErrors,
    policies: Arc<Registry>,
    clock: SystemClock,
    counted: Mutex<Counted>,
}

#[derive(Debug)]
struct Counted {
    counts: Counts,
    durations: Distribution,
}

impl Tally {
    pub(super) fn new(policies: Arc<Registry>) -> Self {
        Self {
            errors: CheckErrors::counted(),
            policies,
            clock: SystemClock::new(),
            counted: Mutex::new(Counted {
                counts: Counts::default(),
                durations: Distribution::new(&CHECK_SECONDS),
            }),
        }
    }

    /// By the policies in force, whether anything was decided by them yet or not.
    pub(super) fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    pub(super) fn durations(&self) -> Distribution {
        self.lock().durations.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        // No update is ever left half done by a panic, so a poisoned lock is as good as any.
        let counted = self.counted.lock();
        let mut counted = counted.unwrap_or_else(PoisonError::into_inner);
        if counted.counts.generation() != self.policies.generation() {
            counted.counts.renew(self.policies.snapshot());
        }
        counted
    }

    /// The trace of a check that is sampled, if one is.
    fn exemplar(&self, decided: &Decided<'_>) -> Option<Exemplar> {
        let traces = decided
            .checks
            .iter()
            .filter_map(|check| check.trace.as_ref());
        let sampled = traces.into_iter().find(|trace| trace.is_sampled)?;
        Some(Exemplar {
            trace_id: sampled.trace_id,
            value: decided.took.as_secs_f64(),
            at: Duration::from_micros(self.clock.now().as_micros()),
        })
    }
}

impl Observer for Tally {
    fn decided(&self, decided: &Decided<'_>) {
        let exemplar = self.exemplar(decided);
        let mut counted = self.lock();
        let mut count = 0;
        for (check, answer) in decided.each() {
            let Ok(answer) = answer else { continue };
            counted.counts.count(check, answer);
            count += 1;
        }
        if count > 0 {
            let took = decided.took.as_secs_f64();
            counted.durations.observe(took, count, exemplar);
        }
    }
}
