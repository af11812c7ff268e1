//! The gRPC services.

mod admin;
mod caller;
mod handover;
mod health;
mod limiter;
mod malformed;
mod peer;
mod reflection;
mod share;
mod span;
mod status;
mod stream;

pub(crate) use admin::{ActivityReader, Admin, Readings};
pub(crate) use caller::{Caller, CallerRules};
pub(crate) use health::ServiceHealth;
pub(crate) use limiter::LimiterGrpc;
pub(crate) use malformed::Malformed;
pub(crate) use peer::{InFlight, Peer};
pub(crate) use reflection::{Index, OlderName, Reflection};
pub(crate) use share::{Share, Unread};
pub(crate) use status::{counted_as, of_message, of_request, too_many, unanswered};
