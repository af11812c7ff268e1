//! What every store must do, run on the memory store, on a real Redis and on a cluster of
//! one node, all on clocks that the tests turn.
//!
//! `model` compares each answer with an independent, exact model over thousands of random cases.
//! `rules`, `changed_limits` and `clock` show the rules of the contract one by one; `records` looks at
//! the bits.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

mod changed_limits;
mod clock;
mod fixture;
mod model;
mod records;
mod rules;
