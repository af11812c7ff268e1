//! A virtual MCP server: many backend MCP servers behind one endpoint, with shared rate limits.
//!
//! # The problem
//!
//! Agents call tools of many servers through one gateway, and the gateway runs as several
//! replicas. One agent in a loop must not starve the others, whichever replica it reaches; and
//! what enforces that must never be what takes the tools down.
//!
//! # The words
//!
//! - A [`Vmcp`] serves MCP requests; who calls is an argument of each method. A **decorator** has
//!   the same trait in and out.
//! - [`Core`](core::Core) joins **backends** into one and routes to them.
//! - [`RateLimited`] asks a limiter, through its [`Gate`], before a call reaches the core.
//! - [`Optimizer`] shows two tools in place of many.
//! - The [edge](serve) speaks MCP over HTTP; an [`Authenticator`](auth::Authenticator) says who
//!   calls, and [`rejection`] what a client sees of a request that was not served.
//!
//! # The flow
//!
//! ```text
//! HTTP -> serve: who calls, one message or a batch
//!      -> Optimizer:   call_tool{tool_name} becomes the real tool
//!      -> Core:        git_search -> backend git, tool search, and a slot there
//!      -> RateLimited: allowed, denied, or no decision and through
//!      -> Core:        the request is sent
//! ```
//!
//! [`Server`] wires it all by a [`Config`](config::Config).

pub mod auth;
pub mod config;
pub mod core;
mod embedded;
mod error;
mod gate;
mod json;
mod optimizer;
mod rate_limited;
pub mod rejection;
pub mod serve;
mod server;
mod span;
#[cfg(test)]
mod testing;
mod tls;
mod vmcp;

pub use embedded::EmbeddedError;
pub use error::VmcpError;
pub use gate::Gate;
pub use optimizer::Optimizer;
pub use rate_limited::{RateLimited, rate_limited};
pub use server::{Server, StartError};
pub use vmcp::{Prepared, Vmcp};
