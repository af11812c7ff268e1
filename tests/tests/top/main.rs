//! `toolgate top` against limiters under load, and in a terminal.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

mod live;
mod once;
mod stage;
