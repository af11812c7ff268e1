//! How fast one bucket may be emptied, and how fast it fills again.

use std::{fmt, time::Duration};

use crate::duration::GoDuration;

/// Capacity and refill period of a bucket: immutable, never zero.
///
/// The bounds keep every product of the bucket arithmetic below 2^76 and every stored number below
/// 2^53, which a Lua number holds exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    capacity: u32,
    period_micros: u64,
}

/// Why a capacity and a refill period are no [`Quota`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    /// The capacity is outside `1..=2147483647`.
    #[error("maxTokens must be between 1 and 2147483647, not {0}")]
    Capacity(i128),
    /// The refill period is zero.
    #[error("refillPeriod must be positive")]
    NotPositive,
    /// The refill period is under [`Quota::MIN_PERIOD`].
    #[error("refillPeriod must be at least 1ms, not {0}")]
    TooShort(GoDuration),
    /// The refill period is over [`Quota::MAX_PERIOD`].
    #[error("refillPeriod must be at most 366 days (8784h), not {0}")]
    TooLong(GoDuration),
    /// The refill period has a part below a microsecond, the unit in which buckets keep time.
    #[error("refillPeriod must be a whole number of microseconds, not {0}")]
    TooFine(GoDuration),
}

impl Quota {
    /// The largest capacity, in tokens.
    pub const MAX_CAPACITY: u32 = i32::MAX as u32;
    /// The shortest refill period.
    pub const MIN_PERIOD: Duration = Duration::from_millis(1);
    /// The longest refill period.
    pub const MAX_PERIOD: Duration = Duration::from_hours(366 * 24);

    /// A quota of `capacity` tokens that fills from empty to full in `refill_period`.
    pub fn new(capacity: u32, refill_period: Duration) -> Result<Self, QuotaError> {
        if !(1..=Self::MAX_CAPACITY).contains(&capacity) {
            return Err(QuotaError::Capacity(capacity.into()));
        }
        let written = GoDuration(refill_period);
        if refill_period.is_zero() {
            return Err(QuotaError::NotPositive);
        }
        if refill_period < Self::MIN_PERIOD {
            return Err(QuotaError::TooShort(written));
        }
        if refill_period > Self::MAX_PERIOD {
            return Err(QuotaError::TooLong(written));
        }
        if !refill_period.subsec_nanos().is_multiple_of(1_000) {
            return Err(QuotaError::TooFine(written));
        }
        Ok(Self {
            capacity,
            period_micros: refill_period.as_secs() * 1_000_000
                + u64::from(refill_period.subsec_micros()),
        })
    }

    /// The most tokens the bucket holds, which is also the burst.
    pub const fn capacity(self) -> u32 {
        self.capacity
    }

    /// Time to go from empty to full.
    pub const fn refill_period(self) -> Duration {
        Duration::from_micros(self.period_micros)
    }

    /// [`Quota::refill_period`] in microseconds.
    pub const fn period_micros(self) -> u64 {
        self.period_micros
    }
}

/// As people say it: `10 calls per 1m`.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = if self.capacity == 1 { "call" } else { "calls" };
        let period = GoDuration(self.refill_period());
        write!(f, "{} {calls} per {period}", self.capacity)
    }
}
