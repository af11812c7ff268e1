//! The binary as people and scripts run it, against limiters that answer by script.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod answers;
mod buckets;
mod check;
mod failures;
mod policies;
mod scripted;
mod toolgate;
mod top;
mod usage;
