//! The gateway on real parts: `vmcp` and `toolgate` processes, a real Redis, MCP servers and clients
//! that this project did not write, and what they do when a limiter dies or is out of its mind.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

mod abuse;
mod backend;
mod caller;
mod costs;
mod faults;
mod issuer;
mod load;
mod metrics;
mod names;
mod optimizer;
mod outage;
mod replica;
#[cfg(feature = "sdk")]
mod sdk;
mod stage;
