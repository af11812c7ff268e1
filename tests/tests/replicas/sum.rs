//! The definition of a bucket, in whole numbers: `level = min(capacity, level + elapsed * capacity /
//! period)`, full at first. In units of `1 / period` of a token, so nothing is ever rounded.

use std::{fmt, time::Duration};

/// Capacity and refill period of a bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// In tokens.
    pub(crate) capacity: u64,
    /// From empty to full, in microseconds.
    pub(crate) period: u64,
}

impl Rate {
    /// So many tokens a second, with a capacity that fills in `period`.
    pub(crate) fn of(tokens_a_second: u64, period: Duration) -> Self {
        let period = u64::try_from(period.as_micros()).expect("fits");
        Self {
            capacity: tokens_a_second * period / 1_000_000,
            period,
        }
    }

    /// The most tokens that may pass within `span` microseconds.
    pub(crate) fn most(self, span: u64) -> u64 {
        self.capacity + span * self.capacity / self.period
    }
}

/// As a policy has it.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { capacity, period } = self;
        write!(f, "{{maxTokens: {capacity}, refillPeriod: {period}us}}")
    }
}

/// What a bucket holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level {
    rate: Rate,
    units: u64,
}

impl Level {
    pub(crate) fn full(rate: Rate) -> Self {
        Self {
            rate,
            units: rate.capacity * rate.period,
        }
    }

    /// Whole tokens.
    pub(crate) fn tokens(&self) -> u64 {
        self.units / self.rate.period
    }

    /// So many microseconds later.
    pub(crate) fn refill(&mut self, micros: u64) {
        let full = self.rate.capacity * self.rate.period;
        self.units = full.min(self.units + micros * self.rate.capacity);
    }

    /// Whoever takes more than there is has been admitted too much.
    pub(crate) fn pay(&mut self, tokens: u64) {
        let left = self.units.checked_sub(tokens * self.rate.period);
        self.units = left.unwrap_or_else(|| panic!("{tokens} have passed of {self:?}"));
    }
}
