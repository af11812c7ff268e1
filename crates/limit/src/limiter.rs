//! Who answers checks.

use std::{fmt, sync::Arc};

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

/// Why a limiter made no decision.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LimiterError {
    /// The store made none.
    #[error(transparent)]
    Store(#[from] StoreError),
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
}

impl StoreLimiter {
    /// A limiter on `store`, by `policies`.
    pub fn new(policies: Arc<dyn Policies>, store: Arc<dyn BucketStore>) -> Self {
        Self { policies, store }
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

    /// The buckets that `check` touches and what its policy does with a denial; none if nothing
    /// limits the call.
    fn plan(&self, check: &Check) -> Option<(Plan, Mode)> {
        let snapshot = self.policies.snapshot();
        let policy = snapshot.policy(&check.server)?;
        let plan = policy.plan(check);
        (!plan.is_empty()).then(|| (plan, policy.mode()))
    }
}

#[async_trait]
impl Limiter for StoreLimiter {
    async fn check(&self, check: Check) -> Result<Answer, LimiterError> {
        let Some((plan, mode)) = self.plan(&check) else {
            return Ok(Answer::unlimited());
        };
        let answers = self.store.take(vec![plan]).await?;
        let answer = answers
            .into_iter()
            .next()
            .unwrap_or_else(|| unreachable!("a store answers every plan"));
        Ok(under(mode, answer))
    }

    async fn peek(&self, check: Check) -> Result<Answer, LimiterError> {
        let Some((plan, mode)) = self.plan(&check) else {
            return Ok(Answer::unlimited());
        };
        Ok(under(mode, self.store.peek(plan).await?))
    }
}

fn under(mode: Mode, answer: Answer) -> Answer {
    match mode {
        Mode::Enforce => answer,
        Mode::Shadow => answer.shadowed(),
    }
}
