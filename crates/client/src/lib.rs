//! What a gateway embeds to ask a Toolgate limiter: may this user run this tool now?
//!
//! # The problem
//!
//! Every tool call of every replica of a gateway asks one shared service. That service must not
//! become what makes tools slow or takes them down: it may be late, gone, overloaded or out of its
//! mind, and calls go on. Only an explicit denial blocks one.
//!
//! # The words
//!
//! - A [`Client`] is a [`Limiter`](toolgate_limit::Limiter) that is somewhere else, at an
//!   [`Endpoint`] with one or more limiter replicas. It answers or fails, within its timeout.
//! - [`FailOpen`] is around any limiter and does not fail: it gives a [`Verdict`].
//!
//! # The flow
//!
//! ```text
//! FailOpen   an error becomes Allowed (or Refused), counted by Cause, logged when it begins
//! Client     the deadline of the check, all in all 50 ms
//! Denials    a bucket known to be empty until later denies here
//! Members    the replicas that are connected and not left alone; of two, the less loaded
//! Replica    circuit breaker: 5 failures in a row, then a probe within 1 s, doubling to 30 s
//! Session    one CheckStream; checks go out with an id, answers come back in any order
//! ```
//!
//! No check waits for a connection: while there is none it fails at once, except at the very start.
//! A check is sent at most once. When its connection breaks it fails, for it may have been paid.
//!
//! # Embedding it
//!
//! One client for the whole process, made once; each call asks before it runs.
//!
//! ```
//! use toolgate_client::{Client, ClientConfig, FailOpen, OnUnavailable, Verdict};
//! use toolgate_limit::{Check, Identity, Operation, OperationKind};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = ClientConfig::new("dns:///limiter.tools.svc:7070".parse()?);
//! let limiter = FailOpen::new(Client::new(config)?, OnUnavailable::Allow);
//!
//! let check = Check {
//!     server: "default/research".parse()?,
//!     identity: Identity::new("alice")?.of_issuer("https://id.example.com")?,
//!     operation: Some(Operation::new(OperationKind::Tool, "github_search")?),
//!     cost: Check::COST_OF_ONE,
//!     trace: None,
//! };
//! match limiter.check(check).await {
//!     Verdict::Allowed { .. } => { /* run the tool */ }
//!     Verdict::Denied(denial) => {
//!         // "10 calls per 1m per user of tool github_search; retry in 5.9s"
//!         println!("{denial}");
//!     }
//!     Verdict::Refused => unreachable!("only with OnUnavailable::Deny"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! For development there need be no service: `FailOpen` takes an `Arc<dyn Limiter>`, which may as
//! well be a [`StoreLimiter`](toolgate_limit::StoreLimiter) in the same process.

mod backoff;
mod breaker;
mod choice;
mod client;
mod config;
mod connection;
mod counters;
mod denials;
mod endpoint;
mod fail_open;
mod faults;
mod members;
mod outcome;
mod outgoing;
mod reading;
mod replica;
mod resolve;
mod session;
mod span;
mod spoken;
mod stall;
mod start;
mod unnamed;
mod waiting;

pub use backoff::Backoff;
pub use breaker::{BreakerConfig, BreakerState};
pub use client::Client;
pub use config::{ClientConfig, ConfigError, TlsFiles, TlsIdentity};
pub use counters::{Cause, Counters};
pub use endpoint::{Endpoint, EndpointError};
pub use fail_open::{FailOpen, OnUnavailable, Verdict};
pub use faults::ConfigFault;
pub use replica::ReplicaStatus;
pub use resolve::{Resolve, SystemResolver};
