//! The limiter is closed to strangers, and none of its bounds is for honest callers to feel.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

mod abuse;
mod admin;
mod age;
mod authorities;
mod callers;
mod callers_share;
mod clients;
mod command;
mod floods;
mod frames;
mod handshakes;
mod honest;
mod memory;
mod shares;
mod single_calls;
mod stage;
mod standard;
mod tls;
mod together;
