//! Token buckets in Redis, shared by all replicas of the limiter.
//!
//! # The layout
//!
//! One hash holds the buckets that all callers of a server share, and one the buckets of each user:
//! `tg:{namespace/name}:global` and `tg:{namespace/name}:user:<subject>`. A field is one bucket: the
//! server itself (`server`) or an operation (`tool:<name>`). A hash expires once all of its buckets
//! are full again.
//!
//! # The flow
//!
//! ```text
//! RedisStore::take -> Denials: a bucket known to be empty until later denies here
//!                  -> Queue: waits while a batch is on its way
//!                  -> Batch: the checks of one script call
//!                  -> Link:  the connection, with a deadline -> check.lua, atomic
//!                  <- Batch: the answers, from the states before and the shared arithmetic
//! ```
//!
//! Time is Redis's own (`TIME`), so the clocks of replicas do not matter. Every operation has a
//! deadline, and the store comes back by itself when Redis does.

mod batch;
mod denials;
mod error;
mod key;
mod link;
mod queue;
mod record;
mod reply;
mod script;
mod store;

pub use batch::MAX_CHECKS as MAX_CHECKS_OF_BATCH;
pub use store::{InvalidUrl, RedisConfig, RedisStore};
