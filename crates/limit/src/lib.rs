//! The pure core of Toolgate: token buckets, limits, and the decision on a check.
//!
//! # The problem
//!
//! Many replicas of a gateway run tool calls for many users. Each call must stay within the limits
//! of its server, its user and its tool, whichever replica runs it.
//!
//! # The words
//!
//! - A [`Bucket`] is the state of one key; its [`Quota`] is a capacity (the burst) and a refill
//!   period (from empty to full).
//! - A [`Limit`] is one quota at one [`Scope`] for a server or one [`Operation`]. A [`Policy`] is
//!   the limits of one server, a [`Snapshot`] all policies at one time.
//! - A [`Check`] asks for one call. Its [`Plan`] is the buckets it touches, its [`Answer`] a
//!   [`Decision`] and the state of those buckets.
//!
//! # The flow
//!
//! ```text
//! Check -> StoreLimiter: Snapshot -> Policy -> Plan
//!       -> BucketStore:  the plan's buckets, brought to the store's time
//!       -> take():       all pay, or none -> Answer
//! ```
//!
//! [`take`] is a pure function. [`MemoryStore`] calls it; the Redis store's script mirrors it.
//! Nothing here knows a runtime, a network or a wire format.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use toolgate_limit::{
//!     Check, Identity, Limiter, MemoryStore, Mode, Policies, Policy, Quota, Quotas, Snapshot,
//!     StoreLimiter,
//! };
//!
//! #[derive(Debug)]
//! struct Fixed(Arc<Snapshot>);
//!
//! impl Policies for Fixed {
//!     fn snapshot(&self) -> Arc<Snapshot> {
//!         Arc::clone(&self.0)
//!     }
//! }
//!
//! let one_a_minute = Quotas {
//!     per_user: Some(Quota::new(1, Duration::from_secs(60))?),
//!     ..Quotas::default()
//! };
//! let policy = Policy::new("default/research".parse()?, Mode::Enforce, one_a_minute, [])?;
//! let policies = Fixed(Arc::new(Snapshot::new(1, [policy])));
//! let limiter = StoreLimiter::new(Arc::new(policies), Arc::new(MemoryStore::new(1_000)));
//!
//! let check = Check {
//!     server: "default/research".parse()?,
//!     identity: Identity::new("alice")?,
//!     operation: None,
//!     cost: Check::COST_OF_ONE,
//!     trace: None,
//! };
//! futures::executor::block_on(async {
//!     assert!(limiter.check(check.clone()).await?.decision.is_allowed());
//!     assert!(!limiter.check(check).await?.decision.is_allowed());
//!     Ok::<(), toolgate_limit::LimiterError>(())
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bucket;
mod clock;
mod decision;
mod denials;
mod duration;
mod identity;
mod key;
mod limit;
mod limiter;
mod memory;
mod name;
mod operation;
mod plan;
mod policy;
mod quota;
mod server_id;
mod snapshot;
mod store;
mod trace;

pub use bucket::Bucket;
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use decision::{Answer, BucketStatus, Decision, Denial, peek, take};
pub use denials::{Denials, Look};
pub use duration::{DurationError, GoDuration};
pub use identity::Identity;
pub use key::{Group, UserKey};
pub use limit::{Limit, Scope};
pub use limiter::{Limiter, LimiterError, Policies, StoreLimiter};
pub use memory::MemoryStore;
pub use name::NameError;
pub use operation::{Operation, OperationKind};
pub use plan::{Check, Plan, PlannedGroup};
pub use policy::{Mode, Policy, PolicyError, Quotas};
pub use quota::{Quota, QuotaError};
pub use server_id::ServerId;
pub use snapshot::Snapshot;
pub use store::{BucketStore, StoreError};
pub use trace::{TraceContext, TraceContextError};
