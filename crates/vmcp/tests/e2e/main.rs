//! A virtual MCP server with real backends and real clients.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "these are tests")]

mod backend;
mod backends;
mod browser;
mod child;
#[path = "../../examples/backend/counter.rs"]
mod counter;
mod environment;
mod gone;
mod log;
mod malformed;
mod metrics;
mod modern;
mod odd;
mod oddities;
mod process;
mod quiet;
mod raw;
mod replica;
mod restarts;
mod sessions;
mod settings;
mod silence;
mod unchanged;
mod users;
mod wait;
