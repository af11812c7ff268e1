//! Limiter processes on one Redis share their buckets to the token, however fast they are asked.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

mod flood;
mod running;
mod sum;
mod thousand;
mod turned;
