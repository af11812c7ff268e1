//! Who is told of each decision, and by whom.
//!
//! ```text
//! grpc -> ObservedLimiter -> ReplicaLimiter
//!               `-> Observers: each of them, once for the checks that were decided together
//! ```
//!
//! Observers run on the call's road, on every check, so they do no more than count: no waiting, no
//! lock that another worker holds for long, nothing that grows without a bound.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;
use toolgate_limit::{Answer, Check, Denial, LimiterError, StoreError};

use crate::{audit::Audit, outage::ReplicaLimiter};

mod activity;
mod halves;
mod log;
mod metrics;

pub(crate) use activity::{Activity, HotBucket};
use log::DenialLog;
pub(crate) use metrics::{
    CheckErrors, Counters, Course, Metrics, Replica, StoreErrors, Target, Unanswered,
};

/// Sees decisions go by.
pub(crate) trait Observer: fmt::Debug + Send + Sync {
    /// Told of checks that were decided, or not, together. Peeks are none.
    fn decided(&self, decided: &Decided<'_>);

    /// Told of so many checks that nobody waits for any more, after `took`.
    fn given_up(&self, checks: u64, took: Duration) {
        let _ = (checks, took);
    }
}

/// Checks that are being decided. Dropped before they are, their time was up or whoever asked has gone.
struct Deciding<'a> {
    observers: &'a Observers,
    checks: usize,
    began: Instant,
}

impl Deciding<'_> {
    fn decided(mut self, checks: &[Check], answers: &[Result<Answer, StoreError>]) {
        self.checks = 0;
        self.observers.decided(&Decided {
            checks,
            answers,
            took: self.began.elapsed(),
        });
    }
}

impl Drop for Deciding<'_> {
    fn drop(&mut self) {
        if self.checks > 0 {
            let checks = u64::try_from(self.checks).unwrap_or(u64::MAX);
            self.observers.given_up(checks, self.began.elapsed());
        }
    }
}

/// Checks that were decided together, and their answers in the same order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decided<'a> {
    pub(crate) checks: &'a [Check],
    pub(crate) answers: &'a [Result<Answer, StoreError>],
    /// How long that took.
    pub(crate) took: Duration,
}

impl<'a> Decided<'a> {
    /// Each check with its answer.
    pub(crate) fn each(
        &self,
    ) -> impl Iterator<Item = (&'a Check, &'a Result<Answer, StoreError>)> + use<'a> {
        self.checks.iter().zip(self.answers)
    }

    /// Each denial with its check and answer; those that a policy in shadow mode has kept back too.
    pub(crate) fn denials(
        &self,
    ) -> impl Iterator<Item = (&'a Check, &'a Answer, &'a Denial)> + use<'a> {
        self.each().filter_map(|(check, answer)| {
            let answer = answer.as_ref().ok()?;
            Some((check, answer, answer.denial()?))
        })
    }
}

/// All that observes, on whichever worker.
#[derive(Clone, Debug)]
pub(crate) struct Observation {
    pub(crate) activity: Activity,
    pub(crate) audit: Option<Audit>,
    pub(crate) counters: Option<Counters>,
}

impl Observation {
    /// The observers of one worker more.
    pub(crate) fn of_worker(&self) -> Observers {
        let mut observers: Vec<Arc<dyn Observer>> = vec![Arc::new(DenialLog)];
        observers.extend(self.activity.of_worker());
        if let Some(audit) = &self.audit {
            observers.push(Arc::new(audit.clone()));
        }
        let tally = self.counters.as_ref().map(Counters::tally_of_worker);
        let errors = tally.as_ref().map(|tally| tally.errors.clone());
        observers.extend(tally.map(|tally| tally as _));
        Observers {
            observers,
            errors: errors.unwrap_or_default(),
        }
    }
}

/// The observers of one worker.
#[derive(Clone, Debug)]
pub(crate) struct Observers {
    observers: Vec<Arc<dyn Observer>>,
    /// Counts checks that get an error, which is known only where they are answered.
    pub(crate) errors: CheckErrors,
}

impl Observers {
    fn decided(&self, decided: &Decided<'_>) {
        for observer in &self.observers {
            observer.decided(decided);
        }
    }

    fn given_up(&self, checks: u64, took: Duration) {
        for observer in &self.observers {
            observer.given_up(checks, took);
        }
    }
}

/// Decides as the limiter that it holds, and tells observers.
#[derive(Clone, Debug)]
pub(crate) struct ObservedLimiter {
    limiter: ReplicaLimiter,
    observers: Observers,
}

impl ObservedLimiter {
    pub(crate) const fn new(limiter: ReplicaLimiter, observers: Observers) -> Self {
        Self { limiter, observers }
    }

    /// Decides `checks` together, as [`ReplicaLimiter::check_all`].
    pub(crate) async fn check_all(
        &self,
        checks: &[Check],
        omit_buckets: bool,
    ) -> Vec<Result<Answer, StoreError>> {
        let deciding = Deciding {
            observers: &self.observers,
            checks: checks.len(),
            began: Instant::now(),
        };
        let answers = self.limiter.check_all(checks, omit_buckets).await;
        deciding.decided(checks, &answers);
        answers
    }

    /// Decides one check.
    pub(crate) async fn check(&self, check: Check) -> Result<Answer, StoreError> {
        let mut answers = self.check_all(&[check], false).await;
        answers.pop().unwrap_or_else(|| {
            Err(StoreError::Corrupt(
                "the limiter has left out an answer".to_owned(),
            ))
        })
    }

    /// Decides, and pays nothing. Nobody is told.
    pub(crate) async fn peek(&self, check: Check) -> Result<Answer, LimiterError> {
        Ok(self.limiter.look(&check).await?)
    }
}
