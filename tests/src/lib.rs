//! What the end-to-end tests stand on: real processes of their own, started on free addresses and
//! ended with the value that stands for them.

mod clock;
mod process;
mod redis;

pub use clock::TurnedClock;
pub use process::Process;
pub use redis::RedisServer;
