//! The limiter of one replica: what the store decides, and while it does not, what the replica does.

use std::sync::Arc;

use toolgate_limit::{
    Answer, BucketStore, Check, Identity, LimiterError, Operation, Plan, Policies, Policy,
    ServerId, Snapshot, StoreError, StoreLimiter, Timestamp,
};

use super::{Breaker, LocalBuckets};
use crate::observe::StoreErrors;

/// Decides by the store, and without it as [`super::OnOutage`] says.
#[derive(Clone, Debug)]
pub(crate) struct ReplicaLimiter {
    shared: StoreLimiter,
    breaker: Arc<Breaker>,
    /// By the same policies, on the replica's own buckets, or on none if it may not decide alone.
    alone: StoreLimiter,
    local: Option<LocalBuckets>,
    errors: StoreErrors,
}

/// In place of the store, for a replica that may not decide alone. What no limit concerns never
/// comes here.
#[derive(Debug)]
struct Undecided(Arc<Breaker>);

impl ReplicaLimiter {
    /// Asks `shared` while `breaker` lets it, and decides on `local` buckets else, if there are any.
    pub(crate) fn new(
        shared: StoreLimiter,
        breaker: Arc<Breaker>,
        policies: Arc<dyn Policies>,
        local: Option<LocalBuckets>,
    ) -> Self {
        let instead: Arc<dyn BucketStore> = match &local {
            Some(buckets) => Arc::new(buckets.store.clone()),
            None => Arc::new(Undecided(Arc::clone(&breaker))),
        };
        Self {
            shared,
            breaker,
            alone: StoreLimiter::new(policies, instead).degraded(),
            local,
            errors: StoreErrors::default(),
        }
    }

    /// The same limiter, which counts in `errors` what the store does not decide.
    pub(crate) fn counting(self, errors: StoreErrors) -> Self {
        Self { errors, ..self }
    }

    /// The policy in force for `server`.
    pub(crate) fn policy(&self, server: &ServerId) -> Option<Arc<Policy>> {
        self.shared.policy(server)
    }

    /// The policies in force.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot()
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
        if self.local.is_some() {
            self.alone.reset(policy, user, operation).await?;
        }
        Ok(count)
    }

    /// As [`StoreLimiter::look`], in the store alone. A failure is told to its caller, and nobody else.
    pub(crate) async fn look_in_store(&self, check: &Check) -> Result<Answer, StoreError> {
        self.store_decides()?;
        self.shared.look(check).await
    }

    /// Since when and why the store, or a part of it, does not decide; none while it does.
    pub(crate) fn outage(&self) -> Option<(Timestamp, String)> {
        self.breaker.outage_now()
    }

    /// Whether the replica decides alone while the store does not.
    pub(crate) const fn decides_alone(&self) -> bool {
        self.local.is_some()
    }

    /// Before the first snapshot everything would seem to be unlimited.
    fn knows_no_policies(&self) -> bool {
        self.snapshot().generation() == 0
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
        if self.knows_no_policies() {
            return checks.iter().map(|_| Err(StoreError::NoPolicies)).collect();
        }
        let Some(permit) = self.breaker.permit() else {
            return self.check_alone(checks, omit_buckets).await;
        };
        let mut answers = self.shared.check_all(checks, omit_buckets).await;
        let mut failed = Vec::new();
        for (place, answer) in answers.iter().enumerate() {
            if let Err(error) = answer {
                self.breaker.failed(permit, error);
                self.errors.count(error);
                failed.push(place);
            }
        }
        if failed.is_empty() {
            self.breaker.decided(permit);
        } else if self.local.is_some() {
            let checks: Vec<_> = failed.iter().map(|&place| checks[place].clone()).collect();
            let decided = self.check_alone(&checks, omit_buckets).await;
            for (place, answer) in failed.into_iter().zip(decided) {
                answers[place] = answer;
            }
        }
        answers
    }

    /// Decides `checks` without the store.
    ///
    /// A check that has timed out may have been paid there. That is no reason to deny it here, as
    /// local buckets know nothing of it; and if they lack the tokens, they would without it.
    async fn check_alone(
        &self,
        checks: &[Check],
        omit_buckets: bool,
    ) -> Vec<Result<Answer, StoreError>> {
        let answers = self.alone.check_all(checks, omit_buckets).await;
        if let Some(local) = &self.local {
            local.note_use();
            if let Some(full) = answers.iter().find_map(|answer| answer.as_ref().err()) {
                self.breaker.tell(full);
            }
        }
        answers
    }

    /// As [`StoreLimiter::look`]. A look that fails says nothing of checks, which have connections of
    /// their own, so it never opens the breaker.
    pub(crate) async fn look(&self, check: &Check) -> Result<Answer, StoreError> {
        if self.knows_no_policies() {
            return Err(StoreError::NoPolicies);
        }
        if !self.breaker.is_open() {
            match self.shared.look(check).await {
                Err(_) if self.local.is_some() => {}
                looked => return looked,
            }
        }
        self.alone.look(check).await
    }
}

#[tonic::async_trait]
impl BucketStore for Undecided {
    async fn take(&self, plans: Vec<Plan>) -> Vec<Result<Answer, StoreError>> {
        let error = self.0.error();
        plans.iter().map(|_| Err(error.clone())).collect()
    }

    async fn peek(&self, _: Plan) -> Result<Answer, StoreError> {
        Err(self.0.error())
    }

    async fn reset(&self, _: Plan) -> Result<(), StoreError> {
        Err(self.0.error())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Err(self.0.error())
    }
}

#[cfg(test)]
mod tests;
