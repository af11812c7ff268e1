//! What a limiter does when what it stands on fails, fault by fault, on real processes.
//!
//! `docs/failures.md` shows figures of one run of these tests; they print them.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

mod abuse;
mod admission;
mod fault;
mod idle;
mod local;
mod looks;
mod probes;
mod restarts;
mod stage;
mod starved;
mod unavailable;
