//! What one worker has decided.

use std::{sync::Arc, time::Duration};

use toolgate_limit::{Clock as _, Policies as _, SystemClock};
use toolgate_policy::Registry;
use toolgate_telemetry::{Distribution, Exemplar};

use super::{CHECK_SECONDS, CheckErrors, counts::Counts};
use crate::observe::{Decided, Observer, halves::Halves};

/// Counts the checks of one worker, which waits for no scrape.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Checks that were not decided; they are counted with the error that their callers get.
    pub(crate) errors: CheckErrors,
    policies: Arc<Registry>,
    clock: SystemClock,
    counted: Halves<Counted>,
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
            counted: Halves::new(|| Counted {
                counts: Counts::default(),
                durations: Distribution::new(&CHECK_SECONDS),
            }),
        }
    }

    /// By the policies in force, whether anything was decided by them yet or not.
    pub(super) fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.counted.read(|half| {
            half.renew(&self.policies);
            sum.add(half.counts.clone());
        });
        sum
    }

    pub(super) fn durations(&self) -> Distribution {
        let mut sum = Distribution::new(&CHECK_SECONDS);
        self.counted.read(|half| sum.add(&half.durations));
        sum
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
        self.counted.write(|counted| {
            counted.renew(&self.policies);
            let mut count = 0;
            for (check, answer) in decided.each() {
                match answer {
                    Ok(answer) => counted.counts.count(check, answer),
                    // It took its time, which those that are refused at once did not.
                    Err(error) if error.kind() == "timeout" => {}
                    Err(_) => continue,
                }
                count += 1;
            }
            if count > 0 {
                let took = decided.took.as_secs_f64();
                counted.durations.observe(took, count, exemplar);
            }
        });
    }

    fn given_up(&self, checks: u64, took: Duration) {
        self.counted.write(|counted| {
            let took = took.as_secs_f64();
            counted.durations.observe(took, checks, None);
        });
    }
}

impl Counted {
    /// Goes by the policies in force.
    fn renew(&mut self, policies: &Registry) {
        if self.counts.generation() != policies.generation() {
            self.counts.renew(policies.snapshot());
        }
    }
}
