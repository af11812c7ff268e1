//! Who may ask about which servers, by certificate.
//!
//! A rule binds the callers whose certificate has a subject alternative name (SAN) of one form to
//! servers. A certificate may fit several rules; what they grant adds up. One that fits none is
//! granted nothing.

mod san;
mod servers;

use serde::Deserialize;

pub use san::{InvalidSan, SanPattern};
pub use servers::{InvalidServerPattern, ServerPattern};

/// What callers with one form of name in their certificate may do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CallerRule {
    /// Whose rule it is.
    pub san: SanPattern,
    /// The servers that they may check and peek.
    #[serde(default)]
    pub servers: Vec<ServerPattern>,
    /// Whether they may use `AdminService`, which shows and resets the buckets of every server.
    #[serde(default)]
    pub admin: bool,
}
