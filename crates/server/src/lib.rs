//! The limiter service.
//!
//! [`Server::bind`] reads the policies, opens the store and takes the addresses; [`Server::run`]
//! serves until it is told to stop, and then drains. This crate is the one place where policies,
//! store and gRPC meet.
//!
//! ```text
//! LimiterService --Check--> ObservedLimiter -> ReplicaLimiter --Plan--> MemoryStore or RedisStore
//!                                          `-in an outage of Redis-> local MemoryStore
//! AdminService   ---------> Registry (policies, reloads), ReplicaLimiter (buckets, resets),
//!                           Activity (counts, hot buckets)
//! Monitor        ---------> store, every second -> grpc.health.v1, /readyz, the breaker
//! ```

mod audit;
mod authority;
mod bound;
mod call;
mod callers;
mod closed;
mod config;
mod connection;
mod grpc;
mod health;
mod http;
mod listen;
mod observe;
mod outage;
mod preface;
mod server;
mod shares;
mod socket;
mod source;
mod stores;
mod tls;
mod worker;

pub use audit::{AuditError, Salt, SaltError};
pub use callers::{CallerRule, InvalidSan, InvalidServerPattern, SanPattern, ServerPattern};
pub use config::{
    AuditConfig, AuditDestination, AuditSettings, Config, ConfigError, ConnectionBounds,
    ConnectionSettings, KubernetesSettings, OtlpExport, PolicySource, RedisSettings,
    RedisTlsSettings, Secret, SentinelSettings, Settings, StoreConfig, TlsFiles, TlsSettings,
};
pub use listen::{InvalidListen, Listen};
pub use outage::{OnOutage, StoreState};
pub use server::{InProcess, Server, ServerError};
pub use tls::TlsError;
