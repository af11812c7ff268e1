//! What the processes tell of themselves: exports by OTLP, and logs.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

mod direct;
mod export;
mod gateway;
#[path = "../gateway/issuer.rs"]
mod issuer;
mod logs;
mod outage;
mod request_ids;
mod settings;
mod stage;
mod traces;
mod tree;
