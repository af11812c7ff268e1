//! The answer to a check, and the pure function that finds it.

use std::{fmt, sync::Arc, time::Duration};

use crate::{Bucket, GoDuration, Limit, Plan, ServerId, Timestamp};

/// Whether a call may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may; every bucket has paid.
    Allowed,
    /// It may not; no bucket has paid.
    Denied(Denial),
}

impl Decision {
    /// Whether the call may run.
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed)
    }
}

/// Why a call may not run: of the buckets that refused, the one with the longest wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The limit that refused.
    pub limit: Arc<Limit>,
    /// Time until the same check could pass, other callers aside; none if it never can, because
    /// its cost is above the limit's capacity.
    pub retry_after: Option<Duration>,
    /// Tokens that were asked for.
    pub cost: u32,
}

/// For people and agents: `10 calls per 1m per user of tool github_search; retry in 5.9s`.
impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.retry_after {
            Some(wait) => write!(f, "{}; retry in {}", self.limit, GoDuration(round_up(wait))),
            None => write!(
                f,
                "{}; a cost of {} tokens is above the capacity and can never pass",
                self.limit, self.cost
            ),
        }
    }
}

/// To the tenth of a second that a reader wants, or the millisecond below one; never down, so that
/// whoever waits as told has waited enough.
fn round_up(wait: Duration) -> Duration {
    let step = if wait < Duration::from_secs(1) {
        1_000_000
    } else {
        100_000_000
    };
    let steps = u64::try_from(wait.as_nanos().div_ceil(step)).unwrap_or(u64::MAX);
    Duration::from_millis(steps.saturating_mul(u64::try_from(step / 1_000_000).unwrap_or(1)))
}

/// One bucket as a check leaves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketStatus {
    /// The bucket's limit.
    pub limit: Arc<Limit>,
    /// Whole tokens left.
    pub remaining: u32,
    /// Time until the bucket is full.
    pub full_after: Duration,
}

/// What a limiter says to a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the call may run.
    pub decision: Decision,
    /// One status for each bucket of the plan, in its order. None at all: nothing limits the call, or
    /// it was allowed by a remote limiter that was not asked for them.
    pub buckets: Vec<BucketStatus>,
    /// Nothing limits the call.
    pub unlimited: bool,
    /// The server whose policy decided. None of an unlimited call: no policy names its server. None of
    /// any other: it was allowed, and buckets were not asked for either.
    pub policy: Option<ServerId>,
    /// The denial that a policy in shadow mode has kept back.
    pub shadowed: Option<Denial>,
    /// Decided without the store.
    pub degraded: bool,
    /// By how much the times in this answer may be above the truth; they are never below it. Zero
    /// unless it comes from a deny cache.
    pub uncertainty: Duration,
}

impl Answer {
    /// Nothing limits this call, and no policy names its server.
    pub const fn unlimited() -> Self {
        Self {
            decision: Decision::Allowed,
            buckets: Vec::new(),
            unlimited: true,
            policy: None,
            shadowed: None,
            degraded: false,
            uncertainty: Duration::ZERO,
        }
    }

    /// The denial, whether it stands or a policy in shadow mode has kept it back.
    pub const fn denial(&self) -> Option<&Denial> {
        match &self.decision {
            Decision::Denied(denial) => Some(denial),
            Decision::Allowed => self.shadowed.as_ref(),
        }
    }

    /// The same answer under a policy in shadow mode: a denial becomes a note.
    #[must_use]
    pub fn shadowed(self) -> Self {
        match self.decision {
            Decision::Allowed => self,
            Decision::Denied(denial) => Self {
                decision: Decision::Allowed,
                shadowed: Some(denial),
                ..self
            },
        }
    }
}

/// Decides the check of `plan` on its `buckets`, which must be in the plan's order and at `now`:
/// either all pay, or none does.
pub fn take(plan: &Plan, buckets: &mut [Bucket], now: Timestamp) -> Answer {
    let decision = decide(plan, buckets, now);
    if decision.is_allowed() {
        for bucket in buckets.iter_mut() {
            bucket.take(plan.cost());
        }
    }
    answer(plan, decision, buckets, now)
}

/// As [`take`], but pays nothing.
pub fn peek(plan: &Plan, buckets: &[Bucket], now: Timestamp) -> Answer {
    answer(plan, decide(plan, buckets, now), buckets, now)
}

fn decide(plan: &Plan, buckets: &[Bucket], now: Timestamp) -> Decision {
    let mut denial: Option<Denial> = None;
    for (limit, bucket) in plan.limits().zip(buckets) {
        let wait = bucket.wait(plan.cost(), now);
        if wait == Some(Duration::ZERO) {
            continue;
        }
        // The first of the longest; a wait without end is the longest of all.
        let longer = denial.as_ref().is_none_or(|denial| {
            let ends = |wait: Option<Duration>| wait.unwrap_or(Duration::MAX);
            ends(wait) > ends(denial.retry_after)
        });
        if longer {
            denial = Some(Denial {
                limit: Arc::clone(limit),
                retry_after: wait,
                cost: plan.cost(),
            });
        }
    }
    denial.map_or(Decision::Allowed, Decision::Denied)
}

fn answer(plan: &Plan, decision: Decision, buckets: &[Bucket], now: Timestamp) -> Answer {
    let status = |(limit, bucket): (&Arc<Limit>, &Bucket)| BucketStatus {
        limit: Arc::clone(limit),
        remaining: bucket.tokens(),
        full_after: bucket.full_after(now),
    };
    let omit = plan.omits_buckets() && decision.is_allowed();
    let shown = if omit { &[] } else { buckets };
    Answer {
        decision,
        buckets: plan.limits().zip(shown).map(status).collect(),
        unlimited: false,
        policy: (!omit).then(|| plan.server().clone()),
        shadowed: None,
        degraded: false,
        uncertainty: Duration::ZERO,
    }
}

#[cfg(test)]
mod tests;
