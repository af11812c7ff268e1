//! The token bucket: one pure arithmetic, exact in integers.
//!
//! A bucket fills continuously, `capacity / period` tokens a microsecond. That rate is seldom a
//! whole number, so the bucket counts whole tokens and, beside them, the token that is being
//! filled, in parts of `1 / period`: each microsecond then adds exactly `capacity` parts. Nothing
//! is ever rounded, which is why the admission bound holds to the token for 1 per 30 days as for
//! 2^31-1 per second (docs/adr/001). The Redis script does the same arithmetic in Lua.
//!
//! A bucket remembers the quota under which it was written. When the limit has changed since, it
//! is refilled to now under the old quota and only then cut to the new one: no reload hands out
//! what the old limit had not yet earned.
//!
//! A clock may step back. A bucket then stands still until the clock has reached the bucket's own
//! time again, but never for longer than its refill period: a state from further ahead counts as
//! of now (docs/adr/018). Whoever finds such a state must store what [`Bucket::at`] made of it.

use std::time::Duration;

use crate::{Quota, Timestamp};

#[cfg(test)]
mod tests;

/// The state of one bucket at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    quota: Quota,
    /// Whole tokens, at most the capacity.
    tokens: u32,
    /// Of the next token, in parts of `1 / period_micros`; zero when full.
    fraction: u64,
    /// The time up to which refill has been counted. It goes back only where it was further ahead
    /// of the clock than a refill period.
    as_of: Timestamp,
}

impl Bucket {
    /// A bucket that nobody has taken from.
    pub const fn full(quota: Quota, as_of: Timestamp) -> Self {
        Self {
            quota,
            tokens: quota.capacity(),
            fraction: 0,
            as_of,
        }
    }

    /// A bucket as a store has kept it; none if no bucket can be in that state.
    pub fn restore(quota: Quota, tokens: u32, fraction: u64, as_of: Timestamp) -> Option<Self> {
        let possible = match tokens {
            tokens if tokens < quota.capacity() => fraction < quota.period_micros(),
            tokens => tokens == quota.capacity() && fraction == 0,
        };
        possible.then_some(Self {
            quota,
            tokens,
            fraction,
            as_of,
        })
    }

    /// This bucket at `now`, under `quota`: refilled, and cut to the new capacity if that is lower.
    ///
    /// A `now` before the bucket's own time refills nothing, and that time stays where it is, so
    /// that no span is counted twice. If `now` is earlier by more than the refill period, of the
    /// old quota or of the new one, the bucket's time becomes `now`: see [`Bucket::is_rewound`].
    #[must_use]
    pub fn at(self, quota: Quota, now: Timestamp) -> Self {
        self.rewound(quota, now).refilled(now).under(quota)
    }

    /// Whether this bucket, which was made from `stored` by [`Bucket::at`], has an earlier time.
    /// It must be stored even if it pays nothing: otherwise it would never fill.
    pub fn is_rewound(&self, stored: &Self) -> bool {
        self.as_of < stored.as_of
    }

    fn rewound(self, quota: Quota, now: Timestamp) -> Self {
        let longest = self.quota.period_micros().min(quota.period_micros());
        let ahead = self.as_of.as_micros().saturating_sub(now.as_micros());
        let as_of = if ahead > longest { now } else { self.as_of };
        Self { as_of, ..self }
    }

    fn refilled(self, now: Timestamp) -> Self {
        let now = now.max(self.as_of);
        let (capacity, period) = (self.quota.capacity(), self.quota.period_micros());
        let elapsed = now.as_micros() - self.as_of.as_micros();
        if elapsed >= period {
            return Self::full(self.quota, now);
        }
        let gained = u128::from(elapsed) * u128::from(capacity) + u128::from(self.fraction);
        let (whole, fraction) = (gained / u128::from(period), gained % u128::from(period));
        let tokens = u128::from(self.tokens) + whole;
        if tokens >= u128::from(capacity) {
            return Self::full(self.quota, now);
        }
        Self {
            quota: self.quota,
            tokens: narrow(tokens),
            fraction: narrow(fraction),
            as_of: now,
        }
    }

    fn under(self, quota: Quota) -> Self {
        if quota == self.quota {
            return self;
        }
        if self.tokens >= quota.capacity() {
            return Self::full(quota, self.as_of);
        }
        // The same share of a token, in the parts of the new period, rounded down.
        let fraction = u128::from(self.fraction) * u128::from(quota.period_micros())
            / u128::from(self.quota.period_micros());
        Self {
            quota,
            fraction: narrow(fraction),
            ..self
        }
    }

    /// Takes `cost` tokens if they are there, and says whether they were.
    pub fn take(&mut self, cost: u32) -> bool {
        let holds = self.tokens >= cost;
        if holds {
            self.tokens -= cost;
        }
        holds
    }

    /// Time from `now` until the bucket holds `cost` tokens, to the microsecond: zero if it holds
    /// them, none if it never can.
    pub fn wait(&self, cost: u32, now: Timestamp) -> Option<Duration> {
        if cost > self.quota.capacity() {
            return None;
        }
        let missing = cost.saturating_sub(self.tokens);
        if missing == 0 {
            return Some(Duration::ZERO);
        }
        let parts = u128::from(missing) * u128::from(self.quota.period_micros())
            - u128::from(self.fraction);
        let micros: u64 = narrow(parts.div_ceil(u128::from(self.quota.capacity())));
        // When the clock has stepped back, refill begins again at the bucket's own time.
        Some(self.as_of.since(now) + Duration::from_micros(micros))
    }

    /// Time from `now` until the bucket is full.
    pub fn full_after(&self, now: Timestamp) -> Duration {
        self.wait(self.quota.capacity(), now)
            .unwrap_or(Duration::ZERO)
    }

    /// The quota under which the bucket was last brought to a time.
    pub const fn quota(&self) -> Quota {
        self.quota
    }

    /// Whole tokens left.
    pub const fn tokens(&self) -> u32 {
        self.tokens
    }

    /// What is filled of the next token, in parts of `1 / period_micros`.
    pub const fn fraction(&self) -> u64 {
        self.fraction
    }

    /// The time up to which refill has been counted.
    pub const fn as_of(&self) -> Timestamp {
        self.as_of
    }
}

/// Back from the width of a product to that of a field.
fn narrow<T: TryFrom<u128>>(value: u128) -> T {
    T::try_from(value).unwrap_or_else(|_| unreachable!("a quota's bounds keep {value} in range"))
}
