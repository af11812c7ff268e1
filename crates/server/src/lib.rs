//! The limiter service.
//!
//! [`Server::bind`] reads the policies, opens the store and takes the addresses; [`Server::run`]
//! serves until it is told to stop, and then drains. This crate is the one place where policies,
//! store and gRPC meet.
//!
//! ```text
//! LimiterService --Check--> ReplicaLimiter --Plan--> MemoryStore or RedisStore
//!                                          `-in an outage of Redis-> local MemoryStore
//! AdminService   ---------> Registry (policies, reloads), ReplicaLimiter (buckets, resets)
//! Monitor        ---------> store, every second -> grpc.health.v1, /readyz, the breaker
//! ```

mod config;
mod grpc;
mod health;
mod http;
mod listen;
mod outage;
mod server;
mod socket;
mod stores;
mod worker;

pub use config::{Config, ConfigError, Secret, Settings, StoreConfig};
pub use listen::{InvalidListen, Listen};
pub use outage::{OnOutage, StoreState};
pub use server::{Server, ServerError};
