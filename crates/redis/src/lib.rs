//! Token buckets in Redis, shared by all replicas of the limiter.
//!
//! # The layout
//!
//! One hash holds the buckets that all callers of a server share, and one the buckets of each user:
//! `tg:{namespace/name}:global` and `tg:{namespace/name}:user:<subject>`, where `tg` is the
//! [`KeyPrefix`]. A field is one bucket: the server itself (`server`) or an operation
//! (`tool:<name>`). A hash expires once all of its buckets are full again.
//!
//! # The flow
//!
//! ```text
//! RedisStore::take -> Denials: a bucket known to be empty until later denies here
//!                  -> Queues:  of a cluster, that of the server's slot
//!                  -> Queue:   waits while a batch is on its way
//!                  -> Batch:   the checks of one script call
//!                  -> Route:   one server, or the node of a cluster that serves the slot
//!                  -> Link:    the connection, with a deadline -> check.lua, atomic
//!                  <- Batch: the answers, from the states before and the shared arithmetic
//! ```
//!
//! The link leads to one server, or to the master that sentinels name (`sentinel`). A call that has
//! no reply is never sent again, as it may have been paid.
//!
//! Time is Redis's own (`TIME`), so the clocks of replicas do not matter. Every operation has a
//! deadline, and the store comes back by itself when Redis does.

mod access;
mod batch;
mod call;
mod cluster;
mod config;
mod connection;
mod denials;
mod error;
mod instruments;
mod key;
mod link;
mod outages;
mod place;
mod queue;
mod queues;
mod record;
#[cfg(test)]
mod refusing;
mod reply;
mod route;
mod script;
mod sentinel;
#[doc(hidden)]
pub mod served;
mod span;
mod store;
mod ways;

pub use batch::MAX_CHECKS as MAX_CHECKS_OF_BATCH;
pub use config::{Login, RedisConfig, SentinelConfig, TlsFiles, TlsIdentity};
pub use error::ErrorClass;
pub use instruments::{Durations, Instruments, Sampled};
pub use key::{InvalidKeyPrefix, KeyPrefix};
pub use place::InvalidUrl;
pub use store::RedisStore;
