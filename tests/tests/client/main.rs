//! The client that a gateway embeds, against limiters that work, and that fail in every way.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

mod callers;
mod denials;
mod faults;
mod load;
mod names;
mod outage;
mod tls;
