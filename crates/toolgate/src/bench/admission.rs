//! Admitted against allowed: no bucket may admit more than its bound.
//!
//! Over any span a bucket admits at most `capacity + span * capacity / period` tokens. The answers
//! name capacity and period, or where they leave their buckets out the policy in force does; the
//! generator knows whom it asked about, and every decision that it saw fell between its first send
//! and its last answer. So it can tell when a bucket has admitted too much, and is never wrong about
//! it:
//!
//! - a bucket that was not full at the start, and callers other than this generator, only make a
//!   bucket admit less to it;
//! - a check without an answer may have been paid, and is counted as if it were not;
//! - a degraded answer was decided without the store; such answers are counted apart;
//! - if a quota changes on the way, the larger of each number counts; a policy is read before and
//!   after.
//!
//! What it cannot know: whether a bucket admitted too little, what others were admitted, whether the
//! policy is in shadow mode (which admits all, and so shows as over), and whether somebody has reset
//! a bucket (each reset may add a capacity). Several endpoints that share no store have buckets each,
//! which is over, and truly is.

use std::{sync::Arc, time::Duration};

use super::{keys::Key, policy::Policy};

/// Counters of one kind of bucket at most: 256 MiB. Users beyond it are not looked at.
const MAX_COUNTERS: u64 = 32 << 20;

/// The buckets of a check, in the order of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    ServerGlobal,
    OperationGlobal,
    ServerPerUser,
    OperationPerUser,
}

impl Kind {
    pub(crate) const COUNT: usize = 4;
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::ServerGlobal,
        Self::OperationGlobal,
        Self::ServerPerUser,
        Self::OperationPerUser,
    ];

    pub(crate) const fn of_operation(self) -> bool {
        matches!(self, Self::OperationGlobal | Self::OperationPerUser)
    }

    pub(crate) const fn per_user(self) -> bool {
        matches!(self, Self::ServerPerUser | Self::OperationPerUser)
    }
}

/// What a bucket holds and how fast it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    /// In tokens.
    pub(crate) capacity: u64,
    /// From empty to full, in nanoseconds; never zero.
    pub(crate) period: u64,
}

impl Quota {
    /// The most whole tokens that such a bucket admits over `span`.
    fn bound(self, span: Duration) -> u64 {
        let refilled =
            span.as_nanos().saturating_mul(self.capacity.into()) / u128::from(self.period);
        u64::try_from(refilled)
            .unwrap_or(u64::MAX)
            .saturating_add(self.capacity)
    }

    /// The larger capacity and the shorter period.
    fn or_larger(self, other: Self) -> Self {
        Self {
            capacity: self.capacity.max(other.capacity),
            period: self.period.min(other.period),
        }
    }
}

/// Tokens that each bucket has admitted.
#[derive(Debug)]
pub(crate) struct Admissions {
    users: u64,
    tools: u64,
    /// For answers that name no buckets.
    policy: Option<Arc<Policy>>,
    kinds: [Counters; Kind::COUNT],
}

/// The buckets of one kind.
#[derive(Debug, Default)]
struct Counters {
    /// One for each tool, or one for all.
    quotas: Vec<Option<Quota>>,
    /// By user and then by tool, as far as the kind goes. Empty until such a bucket is seen.
    admitted: Vec<u64>,
    quota_changed: bool,
}

/// How the buckets of one kind came out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finding {
    pub(crate) kind: Kind,
    /// Buckets that admitted anything.
    pub(crate) buckets: u64,
    /// Of these, how many admitted more than their bound.
    pub(crate) over: u64,
    /// The bucket nearest to its bound, or the farthest over it.
    pub(crate) worst: Worst,
    pub(crate) quota_changed: bool,
    /// Users whose buckets are not counted, to bound memory.
    pub(crate) users_left_out: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Worst {
    pub(crate) key: Key,
    pub(crate) quota: Quota,
    pub(crate) admitted: u64,
    pub(crate) bound: u64,
    /// Admitted over bound.
    pub(crate) ratio: f64,
}

impl Admissions {
    pub(crate) fn new(users: u32, tools: u32) -> Self {
        Self {
            users: u64::from(users).max(1),
            tools: u64::from(tools).max(1),
            policy: None,
            kinds: Default::default(),
        }
    }

    /// The same under `policy`, whose quotas are those of checks whose answers name none.
    pub(crate) fn under(self, policy: Option<Arc<Policy>>) -> Self {
        Self { policy, ..self }
    }

    /// Every bucket of this check has paid `cost`.
    pub(crate) fn admit(&mut self, key: Key, quotas: &[Option<Quota>; Kind::COUNT], cost: u32) {
        let quotas = match &self.policy {
            Some(policy) if quotas.iter().all(Option::is_none) => policy.quotas(key.tool),
            _ => *quotas,
        };
        for (kind, quota) in Kind::ALL.into_iter().zip(quotas) {
            if let Some(quota) = quota {
                self.count(kind, key, quota, cost);
            }
        }
    }

    /// The policy was `now` at the end: larger numbers in it count, too.
    pub(crate) fn changed_to(&mut self, now: &Policy) {
        for (kind, counters) in Kind::ALL.into_iter().zip(&mut self.kinds) {
            for (tool, known) in (0..).zip(&mut counters.quotas) {
                let Some(now) = now.quotas(tool)[kind as usize] else {
                    continue;
                };
                if let Some(known) = known.as_mut().filter(|known| **known != now) {
                    counters.quota_changed = true;
                    *known = known.or_larger(now);
                }
            }
        }
    }

    fn count(&mut self, kind: Kind, key: Key, quota: Quota, cost: u32) {
        let (tools, users) = (self.tools_of(kind), self.users_of(kind));
        let counters = &mut self.kinds[kind as usize];
        if counters.admitted.is_empty() {
            counters.admitted = vec![0; index(tools * users)];
            counters.quotas = vec![None; index(tools)];
        }
        let tool = if kind.of_operation() { key.tool } else { 0 };
        let known = &mut counters.quotas[tool as usize];
        if *known != Some(quota) {
            counters.quota_changed |= known.is_some();
            *known = Some(known.map_or(quota, |known| known.or_larger(quota)));
        }
        let user = if kind.per_user() { key.user } else { 0 };
        let place = index(u64::from(user) * tools + u64::from(tool));
        // Beyond the end are the users left out.
        if let Some(admitted) = counters.admitted.get_mut(place) {
            *admitted += u64::from(cost);
        }
    }

    fn tools_of(&self, kind: Kind) -> u64 {
        if kind.of_operation() { self.tools } else { 1 }
    }

    fn users_of(&self, kind: Kind) -> u64 {
        if kind.per_user() {
            self.users.min(MAX_COUNTERS / self.tools_of(kind))
        } else {
            1
        }
    }

    /// Adds what another thread has seen of the same users and tools.
    pub(crate) fn merge(&mut self, other: Self) {
        for (mine, other) in self.kinds.iter_mut().zip(other.kinds) {
            if mine.admitted.is_empty() {
                *mine = other;
                continue;
            }
            mine.quota_changed |= other.quota_changed;
            for (mine, other) in mine.admitted.iter_mut().zip(other.admitted) {
                *mine += other;
            }
            for (known, other) in mine.quotas.iter_mut().zip(other.quotas) {
                let Some(other) = other else { continue };
                mine.quota_changed |= known.is_some_and(|known| known != other);
                *known = Some(known.map_or(other, |known| known.or_larger(other)));
            }
        }
    }

    /// Holds every bucket against its bound over `span`, which all decisions fell into.
    pub(crate) fn findings(&self, span: Duration) -> Vec<Finding> {
        let finding = |kind| self.finding(kind, span);
        Kind::ALL.into_iter().filter_map(finding).collect()
    }

    fn finding(&self, kind: Kind, span: Duration) -> Option<Finding> {
        let counters = &self.kinds[kind as usize];
        let tools = self.tools_of(kind);
        let (mut buckets, mut over) = (0, 0);
        let mut worst: Option<Worst> = None;
        for (place, &admitted) in (0..).zip(&counters.admitted) {
            let (user, tool) = (place / tools, place % tools);
            let Some(quota) = counters.quotas[index(tool)].filter(|_| admitted > 0) else {
                continue;
            };
            let bound = quota.bound(span);
            buckets += 1;
            over += u64::from(admitted > bound);
            #[allow(clippy::cast_precision_loss, reason = "a ratio of a few digits")]
            let ratio = admitted as f64 / bound as f64;
            if worst.is_none_or(|worst| ratio > worst.ratio) {
                let narrow = |number| u32::try_from(number).unwrap_or(u32::MAX);
                let key = Key {
                    user: narrow(user),
                    tool: narrow(tool),
                };
                worst = Some(Worst {
                    key,
                    quota,
                    admitted,
                    bound,
                    ratio,
                });
            }
        }
        let users = if kind.per_user() { self.users } else { 1 };
        Some(Finding {
            kind,
            buckets,
            over,
            worst: worst?,
            quota_changed: counters.quota_changed,
            users_left_out: users - self.users_of(kind),
        })
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
