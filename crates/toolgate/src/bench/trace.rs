//! Where checks belong in a trace, for a limiter that makes spans of them.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    str::FromStr,
};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

/// Of checks that all belong to a trace, the share whose callers record it: 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share(pub(crate) f64);

/// Why a text is no [`Share`].
#[derive(Debug, thiserror::Error)]
#[error("a share is a number from 0 to 1")]
pub(crate) struct ShareError;

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        match text.parse() {
            Ok(share) if (0.0..=1.0).contains(&share) => Ok(Self(share)),
            _ => Err(ShareError),
        }
    }
}

/// A trace, and the span of a caller in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    id: u128,
    caller: u64,
    is_sampled: bool,
}

/// Octets of a `traceparent`.
const LENGTH: usize = 55;

impl Trace {
    /// As a `traceparent` of W3C Trace Context.
    pub(crate) fn header(self) -> [u8; LENGTH] {
        let mut header = *b"00-................................-................-00";
        hex(&self.id.to_be_bytes(), &mut header[3..35]);
        hex(&self.caller.to_be_bytes(), &mut header[36..52]);
        header[LENGTH - 1] += u8::from(self.is_sampled);
        header
    }
}

fn hex(bytes: &[u8], text: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, digits) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        digits[0] = DIGITS[usize::from(byte >> 4)];
        digits[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// Draws spans, each of a trace of its own.
#[derive(Debug)]
pub(crate) struct Traces {
    random: SmallRng,
    share: f64,
}

impl Traces {
    /// Other ones at each run: a collector must not take two runs for one.
    pub(crate) fn new(Share(share): Share) -> Self {
        let seed = RandomState::new().build_hasher().finish();
        Self {
            random: SmallRng::seed_from_u64(seed),
            share,
        }
    }

    pub(crate) fn draw(&mut self) -> Trace {
        Trace {
            // Zero is no id.
            id: self.random.random::<u128>() | 1,
            caller: self.random.random::<u64>() | 1,
            is_sampled: self.random.random_bool(self.share),
        }
    }
}

#[cfg(test)]
mod tests {
    use toolgate_limit::TraceContext;

    use super::*;

    #[test]
    fn a_trace_reads_from_its_header() {
        let mut traces = Traces::new(Share(0.5));
        for _ in 0..1_000 {
            let trace = traces.draw();
            let header = trace.header();
            let text = std::str::from_utf8(&header).expect("a text");
            let read: TraceContext = text.parse().expect("a traceparent");
            assert_eq!(read.trace_id, trace.id);
            assert_eq!(read.span_id, trace.caller);
            assert_eq!(read.is_sampled, trace.is_sampled);
        }
    }

    #[test]
    fn as_many_are_sampled_as_is_said() {
        for (share, sampled) in [(0.0, 0), (1.0, 1_000)] {
            let mut traces = Traces::new(Share(share));
            let count = (0..1_000).filter(|_| traces.draw().is_sampled).count();
            assert_eq!(count, sampled);
        }
        for wrong in ["-0.1", "1.1", "NaN", "all", ""] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }
}
