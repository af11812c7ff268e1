//! Who answers checks.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    Answer, BucketStore, Check, Identity, Mode, Operation, Plan, Policy, ServerId, Snapshot,
    StoreError,
};

/// Answers checks. An error means that no decision was made; a denial is an answer.
#[async_trait]
pub trait Limiter: fmt::Debug + Send + Sync {
    /// Decides, and pays if allowed.
    async fn check(&self, check: Check) -> Result<Answer, LimiterError>;

    /// Decides, and pays nothing.
    async fn peek(&self, check: Check) -> Result<Answer, LimiterError>;
}

#[async_trait]
impl<L: Limiter + ?Sized> Limiter for Arc<L> {
    async fn check(&self, check: Check) -> Result<Answer, LimiterError> {
        (**self).check(check).await
    }

    async fn peek(&self, check: Check) -> Result<Answer, LimiterError> {
        (**self).peek(check).await
    }
}

/// Why a limiter made no decision.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LimiterError {
    /// The store made none.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No connection to a remote limiter is up. Nothing was sent.
    #[error("no limiter is reachable at {endpoint}")]
    Unreachable {
        /// Where it was looked for.
        endpoint: Arc<str>,
    },
    /// A remote limiter has failed too often of late, and is left alone for now. Nothing was sent.
    #[error("the circuit breaker of the limiter at {endpoint} is open")]
    BreakerOpen {
        /// Which one.
        endpoint: Arc<str>,
    },
    /// As many checks as may be wait for a remote limiter. Nothing was sent.
    #[error("{max} checks wait for the limiter, which is the most that may")]
    Overloaded {
        /// The bound.
        max: usize,
    },
    /// A remote limiter did not answer in time. The check may have been paid.
    #[error("the limiter did not answer within {after:?}")]
    Timeout {
        /// The deadline that has passed.
        after: Duration,
    },
    /// The connection to a remote limiter broke before the answer. The check may have been paid.
    #[error("the connection to the limiter was lost: {reason}")]
    ConnectionLost {
        /// What broke it.
        reason: Arc<str>,
    },
    /// A remote limiter answered that it has failed.
    #[error("the limiter failed with {code}: {message}")]
    Failed {
        /// The gRPC status code by name, for example `ResourceExhausted`.
        code: String,
        /// The limiter's own words.
        message: String,
    },
    /// A remote limiter does not decide this one check, which is invalid or not the caller's to
    /// ask. It decides others.
    #[error("the limiter rejects the check with {code}: {message}")]
    Rejected {
        /// The gRPC status code by name, for example `InvalidArgument`.
        code: String,
        /// The limiter's own words.
        message: String,
    },
    /// A remote limiter gave an answer that cannot be read.
    #[error("the limiter's answer cannot be read: {0}")]
    Malformed(String),
}

/// Where a limiter finds the policies in force.
pub trait Policies: fmt::Debug + Send + Sync {
    /// The snapshot in force now.
    fn snapshot(&self) -> Arc<Snapshot>;
}

/// Decides by the snapshot in force, on the buckets of a store.
#[derive(Clone, Debug)]
pub struct StoreLimiter {
    policies: Arc<dyn Policies>,
    store: Arc<dyn BucketStore>,
    degraded: bool,
}

impl StoreLimiter {
    /// A limiter on `store`, by `policies`.
    pub fn new(policies: Arc<dyn Policies>, store: Arc<dyn BucketStore>) -> Self {
        Self {
            policies,
            store,
            degraded: false,
        }
    }

    /// The same limiter, but its answers say that they were made without the store.
    #[must_use]
    pub const fn degraded(mut self) -> Self {
        self.degraded = true;
        self
    }

    /// Decides `checks` together, in order, all by the snapshot that is in force now; one answer for
    /// each. With `omit_buckets`, answers that allow show none.
    pub async fn check_all(
        &self,
        checks: &[Check],
        omit_buckets: bool,
    ) -> Vec<Result<Answer, StoreError>> {
        let snapshot = self.policies.snapshot();
        let mut plans = Vec::with_capacity(checks.len());
        let mut modes = Vec::with_capacity(checks.len());
        for check in checks {
            match plan(&snapshot, check) {
                Ok((plan, mode)) => {
                    modes.push(Ok(mode));
                    plans.push(plan.omitting_buckets(omit_buckets));
                }
                Err(unlimited) => modes.push(Err(unlimited)),
            }
        }
        let mut decided = self.store.take(plans).await.into_iter();
        let answer = |mode: Result<Mode, Unlimited>| match mode {
            Err(unlimited) => Ok(unlimited.into()),
            Ok(mode) => {
                let decided = decided.next().unwrap_or_else(|| Err(no_answer()));
                Ok(self.under(mode, decided?))
            }
        };
        modes.into_iter().map(answer).collect()
    }

    /// As [`Limiter::peek`], for a caller who may want to ask somebody else after a failure.
    pub async fn look(&self, check: &Check) -> Result<Answer, StoreError> {
        match plan(&self.policies.snapshot(), check) {
            Err(unlimited) => Ok(unlimited.into()),
            Ok((plan, mode)) => Ok(self.under(mode, self.store.peek(plan).await?)),
        }
    }

    /// The buckets of `policy` that all callers share, or those of one user; of one operation or
    /// of all. Those never taken from are full.
    pub async fn buckets(
        &self,
        policy: &Policy,
        user: Option<&Identity>,
    ) -> Result<Answer, LimiterError> {
        let plan = policy.plan_of(user, None);
        if plan.is_empty() {
            return Ok(Answer::unlimited());
        }
        Ok(self.store.peek(plan).await?)
    }

    /// Makes buckets full again, chosen as in [`StoreLimiter::buckets`], and says how many.
    pub async fn reset(
        &self,
        policy: &Policy,
        user: Option<&Identity>,
        operation: Option<&Operation>,
    ) -> Result<usize, LimiterError> {
        let plan = policy.plan_of(user, operation);
        let count = plan.limits().count();
        if count > 0 {
            self.store.reset(plan).await?;
        }
        Ok(count)
    }

    /// The policy in force for `server`.
    pub fn policy(&self, server: &ServerId) -> Option<Arc<Policy>> {
        self.policies.snapshot().policy(server).cloned()
    }

    /// The policies in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.policies.snapshot()
    }

    fn under(&self, mode: Mode, mut answer: Answer) -> Answer {
        answer.degraded = self.degraded;
        match mode {
            Mode::Enforce => answer,
            Mode::Shadow => answer.shadowed(),
        }
    }
}

/// Nothing limits a call, although this policy names its server, if any does.
struct Unlimited(Option<ServerId>);

impl From<Unlimited> for Answer {
    fn from(Unlimited(policy): Unlimited) -> Self {
        Self {
            policy,
            ..Self::unlimited()
        }
    }
}

/// The buckets that `check` touches and what its policy does with a denial; an error if nothing
/// limits the call.
fn plan(snapshot: &Snapshot, check: &Check) -> Result<(Plan, Mode), Unlimited> {
    let policy = snapshot.policy(&check.server).ok_or(Unlimited(None))?;
    let plan = policy.plan(check);
    if plan.is_empty() {
        return Err(Unlimited(Some(policy.server().clone())));
    }
    Ok((plan, policy.mode()))
}

fn no_answer() -> StoreError {
    StoreError::Corrupt("the store has left out an answer".to_owned())
}

#[async_trait]
impl Limiter for StoreLimiter {
    async fn check(&self, check: Check) -> Result<Answer, LimiterError> {
        let mut answers = self.check_all(&[check], false).await;
        Ok(answers.pop().unwrap_or_else(|| Err(no_answer()))?)
    }

    async fn peek(&self, check: Check) -> Result<Answer, LimiterError> {
        Ok(self.look(&check).await?)
    }
}
