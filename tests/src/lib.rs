//! What the end-to-end tests stand on: real processes of their own, started on free addresses and
//! ended with the value that stands for them.

mod authority;
mod build;
mod client;
mod clock;
mod cluster;
mod collector;
mod connect;
mod control_plane;
mod exposition;
mod fake;
mod limiter;
mod load;
mod names;
mod policy;
mod port;
mod process;
mod proxy;
mod raw;
mod redis;
mod request;
mod seeds;
mod sentinel;
mod terminal;

pub use authority::{Authority, Credentials};
pub use build::{counting_backend, toolgate, vmcp};
pub use client::client_config;
pub use clock::TurnedClock;
pub use cluster::RedisCluster;
pub use collector::{Collector, ReceivedMetric, ReceivedSpan, Reception, attributes};
pub use connect::connect;
pub use control_plane::{ControlPlane, foreign_crd};
pub use exposition::{Exposition, Metric, documented};
pub use fake::{FakeLimiter, Manner};
pub use limiter::{Limiter, PATIENCE};
pub use load::Load;
pub use names::Names;
pub use policy::{PolicyFile, manifest};
pub use process::Process;
pub use proxy::{Fault, FaultProxy, Target};
pub use raw::RawCodec;
pub use redis::RedisServer;
pub use request::{eventually, of_tool, of_user};
pub use seeds::{Seed, seeds};
pub use sentinel::{SentinelOptions, SentinelTrio};
pub use terminal::Terminal;
