//! The authority on buckets.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{Answer, Plan};

/// Keeps buckets and decides checks on them. All replicas that share a store share its quotas.
///
/// An implementation must pass the contract suite in `tests/`.
#[async_trait]
pub trait BucketStore: fmt::Debug + Send + Sync {
    /// Decides the checks of `plans`, which are of one snapshot, in order; each as if at one
    /// instant: when every bucket holds the cost each pays, else none does. There is one answer for
    /// each plan. A store may decide concurrent calls together. After an error it is not known
    /// whether the check has paid.
    async fn take(&self, plans: Vec<Plan>) -> Vec<Result<Answer, StoreError>>;

    /// Decides without paying; the answer shows the buckets as they are.
    async fn peek(&self, plan: Plan) -> Result<Answer, StoreError>;

    /// Makes the buckets of `plan` full again.
    async fn reset(&self, plan: Plan) -> Result<(), StoreError>;

    /// Whether the store would answer a check now.
    async fn ping(&self) -> Result<(), StoreError>;
}

/// Why a store made no decision. Checks that were sent together share one error.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The policies were not read yet, so that nobody knows what to ask the store.
    #[error("the policies were not read yet")]
    NoPolicies,
    /// The store cannot be reached, or refuses work for now.
    #[error("the store is unavailable: {reason}")]
    Unavailable {
        /// The class of what is wrong: one of a few names, for a metric label.
        kind: &'static str,
        /// What is wrong, without secrets.
        reason: String,
        /// The error beneath, if there is one.
        #[source]
        source: Option<Arc<dyn Error + Send + Sync>>,
    },
    /// A part of the store does not decide; checks that concern other parts are decided.
    #[error("for the buckets of {part}: {error}")]
    Partial {
        /// Which part: one of few, as a server of the store.
        part: Arc<str>,
        /// Why.
        #[source]
        error: Box<StoreError>,
    },
    /// The store did not answer in time. The check may have been paid.
    #[error("the store did not answer within {after:?}")]
    Timeout {
        /// The deadline that has passed.
        after: Duration,
    },
    /// The store holds as many groups of buckets as it may, and none of them is full again.
    #[error("the store is full: it holds its maximum of {max} users with unfilled buckets")]
    Full {
        /// The bound.
        max: usize,
    },
    /// More checks wait for the store than it can decide in time.
    #[error("more checks wait for the store than it can decide in time")]
    Overloaded,
    /// What lies in the store is not what Toolgate has put there. A reset of the bucket mends it.
    #[error("the store holds what Toolgate cannot read: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// The name of this error's class: one of a few, for a metric label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoPolicies => "no_policies",
            Self::Unavailable { kind, .. } => kind,
            Self::Partial { error, .. } => error.kind(),
            Self::Timeout { .. } => "timeout",
            Self::Full { .. } => "full",
            Self::Overloaded => "overloaded",
            Self::Corrupt(_) => "corrupt",
        }
    }

    /// Whether the store as a whole does not decide. Otherwise it does: it has too much to do, or
    /// one part of it is down, or one value cannot be read.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Timeout { .. })
    }
}
