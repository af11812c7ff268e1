//! The gateway on real parts: `vmcp` and `toolgate` processes, a real Redis, MCP servers and clients
//! that this project did not write, and what they do when a limiter dies or is out of its mind.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

mod abuse;
mod apart;
mod backend;
mod caller;
mod cancelled;
mod costs;
#[cfg(feature = "sdk")]
mod everything;
mod faults;
mod idlers;
mod issuer;
mod load;
mod metrics;
#[path = "../../../crates/vmcp/tests/e2e/modern.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "a test of vmcp uses it, too")]
mod modern;
mod names;
mod optimizer;
mod outage;
mod replica;
#[cfg(feature = "sdk")]
mod restarts;
#[cfg(feature = "sdk")]
mod sdk;
mod stage;
#[cfg(feature = "sdk")]
mod users;
mod wire;
