//! What every store must do, run on the memory store and on a real Redis, both on clocks that the
//! tests turn.
//!
//! `model` compares each answer with an independent, exact model over thousands of random cases.
//! `rules` shows the rules of the contract one by one.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

mod fixture;
mod model;
mod records;
mod rules;
