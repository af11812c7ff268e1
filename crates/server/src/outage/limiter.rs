//! The limiter of one replica: what the store decides, and while it does not, what the replica does.

use std::sync::Arc;

use toolgate_limit::{
    Answer, Check, Identity, Limiter, LimiterError, MemoryStore, Operation, Policies, Policy,
    ServerId, StoreError, StoreLimiter,
};

use super::Breaker;

/// Decides by the store, and without it as [`super::OnOutage`] says.
#[derive(Clone, Debug)]
pub(crate) struct ReplicaLimiter {
    shared: StoreLimiter,
    breaker: Arc<Breaker>,
    /// On the replica's own buckets, by the same policies; none if it may not decide alone.
    local: Option<StoreLimiter>,
}

impl ReplicaLimiter {
    /// Asks `shared` while `breaker` lets it, and decides on `local` buckets else, if there are any.
    pub(crate) fn new(
        shared: StoreLimiter,
        breaker: Arc<Breaker>,
        policies: Arc<dyn Policies>,
        local: Option<MemoryStore>,
    ) -> Self {
        let local = local.map(|buckets| {
            // What it decides, it decides without the store.
            StoreLimiter::new(policies, Arc::new(buckets)).degraded()
        });
        Self {
            shared,
            breaker,
            local,
        }
    }

    /// The policy in force for `server`.
    pub(crate) fn policy(&self, server: &ServerId) -> Option<Arc<Policy>> {
        self.shared.policy(server)
    }

    /// The buckets in the store, as [`StoreLimiter::buckets`] chooses them. Never local ones, which
    /// the answer could not tell from them.
    pub(crate) async fn buckets(
        &self,
        policy: &Policy,
        user: Option<&Identity>,
    ) -> Result<Answer, LimiterError> {
        self.store_decides()?;
        self.shared.buckets(policy, user).await
    }

    /// As [`StoreLimiter::reset`]. What the local buckets still know of these is forgotten too.
    pub(crate) async fn reset(
        &self,
        policy: &Policy,
        user: Option<&Identity>,
        operation: Option<&Operation>,
    ) -> Result<usize, LimiterError> {
        self.store_decides()?;
        let count = self.shared.reset(policy, user, operation).await?;
        if let Some(local) = &self.local {
            local.reset(policy, user, operation).await?;
        }
        Ok(count)
    }

    fn store_decides(&self) -> Result<(), StoreError> {
        if self.breaker.is_open() {
            return Err(self.breaker.error());
        }
        Ok(())
    }

    /// Decides `checks` together, as [`StoreLimiter::check_all`].
    pub(crate) async fn check_all(
        &self,
        checks: &[Check],
        omit_buckets: bool,
    ) -> Vec<Result<Answer, StoreError>> {
        let Some(permit) = self.breaker.permit() else {
            let error = self.breaker.error();
            return match &self.local {
                Some(local) => local.check_all(checks, omit_buckets).await,
                None => checks.iter().map(|_| Err(error.clone())).collect(),
            };
        };
        let mut answers = self.shared.check_all(checks, omit_buckets).await;
        for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            self.breaker.failed(permit, error);
        }
        if let Some(local) = &self.local {
            decide_failed(local, checks, omit_buckets, &mut answers).await;
        }
        answers
    }

    async fn look(&self, check: &Check) -> Result<Answer, StoreError> {
        let failed = match self.breaker.permit() {
            None => self.breaker.error(),
            Some(permit) => match self.shared.look(check).await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    self.breaker.failed(permit, &error);
                    error
                }
            },
        };
        match &self.local {
            Some(local) => local.look(check).await,
            None => Err(failed),
        }
    }
}

/// Lets `local` decide those of `checks` on which the store has failed.
///
/// A check that has timed out may have been paid there. That is no reason to deny it here, as local
/// buckets know nothing of it; and if they lack the tokens, they would without it.
async fn decide_failed(
    local: &StoreLimiter,
    checks: &[Check],
    omit_buckets: bool,
    answers: &mut [Result<Answer, StoreError>],
) {
    let failed: Vec<_> = answers
        .iter_mut()
        .zip(checks)
        .filter(|(answer, _)| answer.is_err())
        .collect();
    if failed.is_empty() {
        return;
    }
    let checks: Vec<_> = failed.iter().map(|(_, check)| (*check).clone()).collect();
    let decided = local.check_all(&checks, omit_buckets).await;
    for ((answer, _), alone) in failed.into_iter().zip(decided) {
        *answer = alone;
    }
}

#[tonic::async_trait]
impl Limiter for ReplicaLimiter {
    async fn check(&self, check: Check) -> Result<Answer, LimiterError> {
        let mut answers = self.check_all(&[check], false).await;
        let answer = answers.pop().unwrap_or_else(|| Err(self.breaker.error()));
        Ok(answer?)
    }

    async fn peek(&self, check: Check) -> Result<Answer, LimiterError> {
        Ok(self.look(&check).await?)
    }
}

#[cfg(test)]
mod tests;
