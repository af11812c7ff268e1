//! What all who make spans of a check share.
//!
//! A check crosses two processes and four crates on its way from the gateway to Redis. On that way its
//! place in a trace is a plain [`TraceContext`](toolgate_limit::TraceContext), so that the domain and
//! the API know no OpenTelemetry; whoever makes a span turns it into the span's parent and the span
//! into the next context ([`parent`], [`context_of`]).
//!
//! ```text
//! client  span of the check -> TraceContext -> CheckStreamRequest
//! server  TraceContext -> span of the check -> TraceContext -> Plan
//! redis   TraceContext -> span of the script call
//! ```
//!
//! Spans name what they tell of a check in one way ([`words`]). Nothing of it is ever a subject or the
//! URI of a resource.

mod context;
mod tracer;
pub mod words;

pub use context::{context_of, parent};
pub use tracer::tracer;
