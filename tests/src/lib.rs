//! What the end-to-end tests stand on: real processes of their own, started on free addresses and
//! ended with the value that stands for them.

mod clock;
mod limiter;
mod policy;
mod process;
mod proxy;
mod redis;
mod request;

pub use clock::TurnedClock;
pub use limiter::{Limiter, PATIENCE, toolgate};
pub use policy::{PolicyFile, manifest};
pub use process::Process;
pub use proxy::{Fault, FaultProxy};
pub use redis::RedisServer;
pub use request::{eventually, of_tool, of_user};
