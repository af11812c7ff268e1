//! Where a check belongs in a distributed trace.

use std::{fmt, str::FromStr, sync::Arc};

/// The caller's span, as W3C Trace Context names it (<https://www.w3.org/TR/trace-context/>).
///
/// A check carries it from the gateway to the store and nobody here looks at it: whoever makes spans
/// does. It is read from a `traceparent` header, and written as one.
///
/// ```
/// use toolgate_limit::TraceContext;
///
/// let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let context: TraceContext = header.parse()?;
/// assert!(context.is_sampled);
/// assert_eq!(context.to_string(), header);
/// # Ok::<(), toolgate_limit::TraceContextError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; not zero.
    pub trace_id: u128,
    /// The span within it; not zero.
    pub span_id: u64,
    /// Whether the caller records its span, so that those beneath should be recorded as well.
    pub is_sampled: bool,
    /// `tracestate`: what vendors have added, empty if nothing. At most
    /// [`TraceContext::MAX_STATE`] bytes of printable ASCII.
    pub state: Arc<str>,
}

/// What was to be a `traceparent` header is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent of W3C Trace Context, as in 00-{{trace id}}-{{span id}}-01")]
pub struct TraceContextError;

impl TraceContext {
    /// The longest `tracestate` that travels, in bytes; the least that all must pass on (W3C Trace
    /// Context, section 3.3.1.5).
    pub const MAX_STATE: usize = 512;

    /// The same context with the `tracestate` header `state`. One that is too long, or holds what
    /// cannot be printed, counts as empty: it is of no use to anybody here, and the trace goes on
    /// without it.
    #[must_use]
    pub fn with_state(self, state: &str) -> Self {
        let is_printable = |state: &str| state.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let is_fit = state.len() <= Self::MAX_STATE && is_printable(state);
        Self {
            state: if is_fit && !state.is_empty() {
                state.into()
            } else {
                Arc::default()
            },
            ..self
        }
    }
}

/// From a `traceparent` header. Of a version to come, what it has in common with version 00 is read.
impl FromStr for TraceContext {
    type Err = TraceContextError;

    fn from_str(header: &str) -> Result<Self, TraceContextError> {
        read(header.as_bytes()).ok_or(TraceContextError)
    }
}

/// Octets of a `traceparent` of version 00.
const LENGTH: usize = 55;

fn read(header: &[u8]) -> Option<TraceContext> {
    let (known, rest) = header.split_at_checked(LENGTH)?;
    let hyphens = [2, 35, 52];
    let version = hex(&known[..2])?;
    let is_fit = hyphens.iter().all(|&at| known[at] == b'-')
        && match version {
            0x00 => rest.is_empty(),
            0xff => false,
            _ => rest.first().is_none_or(|&byte| byte == b'-'),
        };
    if !is_fit {
        return None;
    }
    let (trace_id, span_id) = (
        hex(&known[3..35])?,
        u64::try_from(hex(&known[36..52])?).ok()?,
    );
    let flags = hex(&known[53..])?;
    (trace_id != 0 && span_id != 0).then(|| TraceContext {
        trace_id,
        span_id,
        is_sampled: flags & 1 == 1,
        state: Arc::default(),
    })
}

/// Up to 32 digits in lower case, the only ones that the specification knows.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
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
    const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn example() -> TraceContext {
        TraceContext {
            trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
            span_id: 0x00f0_67aa_0ba9_02b7,
            is_sampled: true,
            state: Arc::default(),
        }
    }

    #[test]
    fn a_context_is_written_as_its_header() {
        assert_eq!(example().to_string(), HEADER);
        let quiet = TraceContext {
            is_sampled: false,
            ..example()
        };
        assert!(quiet.to_string().ends_with("-00"));
        assert_eq!(quiet.to_string().parse(), Ok(quiet));
    }

    #[test]
    fn a_header_is_read_by_the_letter_and_of_a_later_version_as_far_as_it_is_known() {
        let later = |rest: &str| format!("cc{}{rest}", &HEADER[2..]);
        for header in [HEADER, &later(""), &later("-what-comes"), &later("-")] {
            assert_eq!(header.parse(), Ok(example()), "{header}");
        }
        // Bits that have no meaning yet.
        let flags = HEADER.replace("-01", "-ff");
        assert_eq!(flags.parse(), Ok(example()));
        for wrong in [
            "",
            "00",
            &HEADER[..54],
            &format!("{HEADER}-"),
            &format!(" {HEADER}"),
            &HEADER.to_uppercase(),
            &HEADER.replace('-', "_"),
            &HEADER.replacen("00-", "ff-", 1),
            &HEADER.replace("4bf9", "xyz9"),
            &HEADER.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &HEADER.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &HEADER.replace("-01", "-1é"),
            &later("x"),
        ] {
            assert_eq!(
                wrong.parse::<TraceContext>(),
                Err(TraceContextError),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_state_that_is_too_long_or_not_printable_counts_as_none() {
        let state = |state: &str| example().with_state(state).state.to_string();
        let longest = "k=".to_owned() + &"v".repeat(TraceContext::MAX_STATE - 2);
        for fit in ["", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", &longest] {
            assert_eq!(state(fit), fit);
        }
        for unfit in ["k=\u{7f}", "k=\nv", "k=é", &format!("{longest}v")] {
            assert_eq!(state(unfit), "", "{unfit:?}");
        }
    }
}
