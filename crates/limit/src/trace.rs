//! Where a check belongs in a distributed trace.

use std::{fmt, sync::Arc};

/// The caller's span, as W3C Trace Context names it (<https://www.w3.org/TR/trace-context/>).
///
/// A check carries it from the gateway to the store and nobody here looks at it: whoever makes spans
/// does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; not zero.
    pub trace_id: u128,
    /// The span within it; not zero.
    pub span_id: u64,
    /// Whether the caller records its span, so that those beneath should be recorded as well.
    pub is_sampled: bool,
    /// `tracestate`: what vendors have added, empty if nothing.
    pub state: Arc<str>,
}

/// As a `traceparent` header: `00-{trace}-{span}-{flags}`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.is_sampled);
        let (trace, span) = (self.trace_id, self.span_id);
        write!(f, "00-{trace:032x}-{span:016x}-{flags:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification, section 3.2.4.
    #[test]
    fn a_context_is_written_as_its_header() {
        let context = TraceContext {
            trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
            span_id: 0x00f0_67aa_0ba9_02b7,
            is_sampled: true,
            state: Arc::default(),
        };
        let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(context.to_string(), header);
        let quiet = TraceContext {
            is_sampled: false,
            ..context
        };
        assert!(quiet.to_string().ends_with("-00"));
    }
}
