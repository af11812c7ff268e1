//! Denials that Redis need not be asked for again.
//!
//! A denial tells when its bucket will hold the tokens, and nothing but time fills a bucket. Until
//! then the same cost of the same bucket is denied, whoever asks and through whichever replica, so
//! a caller in a tight loop costs Redis next to nothing. Redis decides at some time between request
//! and reply. Counted from before the request, nobody is denied longer than Redis would deny; what
//! is left to wait counts from the reply, so that whoever waits as told has waited enough.
//!
//! Two things may happen sooner. A bucket may be reset: a denial is remembered for a second at
//! most, and a reset through this replica forgets all. A limit may change: the new snapshot has
//! other [`Limit`]s, and denials are found by the very limit that made them.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use toolgate_limit::{Answer, BucketStatus, Decision, Denial, Group, Limit, Plan};

/// The most denials in one generation; what does not fit is asked for again.
const MAX_DENIALS: usize = 32_768;

/// What was denied of late.
#[derive(Debug)]
pub(crate) struct Denials {
    longest: Duration,
    generations: Mutex<Generations>,
}

/// The older generation is dropped as a whole when the younger is as old as a denial may be, so
/// nothing has to be looked for.
#[derive(Debug)]
struct Generations {
    since: Instant,
    younger: Map,
    older: Map,
}

type Map = HashMap<Bucket, Remembered, foldhash::fast::RandomState>;

/// One bucket, and what was asked of it.
#[derive(Clone, Debug)]
struct Bucket {
    limit: Arc<Limit>,
    group: Group,
    cost: u32,
}

#[derive(Clone, Debug)]
struct Remembered {
    /// When the request was about to be sent that was denied.
    sent: Instant,
    answered: Instant,
    retry_after: Duration,
    remaining: u32,
    full_after: Duration,
}

impl Denials {
    /// Remembers each denial for `longest` at most; zero for none at all.
    pub(crate) fn new(longest: Duration) -> Self {
        let generations = Generations {
            since: Instant::now(),
            younger: Map::default(),
            older: Map::default(),
        };
        Self {
            longest,
            generations: Mutex::new(generations),
        }
    }

    /// For each of `plans` its denial at `now`, if a bucket of it is known not to hold the tokens
    /// yet. It shows that bucket alone. Nothing at all if nothing is known of any.
    pub(crate) fn answers(&self, plans: &[Plan], now: Instant) -> Vec<Option<Answer>> {
        let generations = self.lock();
        if generations.younger.is_empty() && generations.older.is_empty() {
            return Vec::new();
        }
        let answer = |plan| self.answer(&generations, plan, now);
        plans.iter().map(answer).collect()
    }

    fn answer(&self, generations: &Generations, plan: &Plan, now: Instant) -> Option<Answer> {
        let cost = plan.cost();
        for planned in plan.groups() {
            for limit in &planned.limits {
                let bucket = Bucket {
                    limit: Arc::clone(limit),
                    group: planned.group.clone(),
                    cost,
                };
                let known = generations.younger.get(&bucket);
                let known = known.or_else(|| generations.older.get(&bucket));
                if let Some(answer) = known.and_then(|known| self.again(known, &bucket, now)) {
                    return Some(answer);
                }
            }
        }
        None
    }

    fn again(&self, known: &Remembered, bucket: &Bucket, now: Instant) -> Option<Answer> {
        let since_sent = now.saturating_duration_since(known.sent);
        if since_sent >= known.retry_after.min(self.longest) {
            return None;
        }
        let passed = now.saturating_duration_since(known.answered);
        let denial = Denial {
            limit: Arc::clone(&bucket.limit),
            retry_after: Some(known.retry_after.saturating_sub(passed)),
            cost: bucket.cost,
        };
        let status = BucketStatus {
            limit: Arc::clone(&bucket.limit),
            remaining: known.remaining,
            full_after: known.full_after.saturating_sub(passed),
        };
        Some(Answer {
            decision: Decision::Denied(denial),
            buckets: vec![status],
            unlimited: false,
            shadowed: None,
            degraded: false,
        })
    }

    /// Remembers `answer`, if it is a denial that ends, to `plan`, which came at `sent` and was
    /// answered at `answered`.
    pub(crate) fn remember(
        &self,
        plan: &Plan,
        answer: &Answer,
        (sent, answered): (Instant, Instant),
    ) {
        let Decision::Denied(denial) = &answer.decision else {
            return;
        };
        let (Some(retry_after), false) = (denial.retry_after, self.longest.is_zero()) else {
            return;
        };
        let is_of = |limit: &Arc<Limit>| Arc::ptr_eq(limit, &denial.limit);
        let group = plan.groups().iter().find(|g| g.limits.iter().any(is_of));
        let status = answer.buckets.iter().find(|status| is_of(&status.limit));
        let (Some(planned), Some(status)) = (group, status) else {
            return;
        };
        let bucket = Bucket {
            limit: Arc::clone(&denial.limit),
            group: planned.group.clone(),
            cost: plan.cost(),
        };
        let remembered = Remembered {
            sent,
            answered,
            retry_after,
            remaining: status.remaining,
            full_after: status.full_after,
        };
        let mut generations = self.lock();
        if sent.saturating_duration_since(generations.since) >= self.longest {
            generations.since = sent;
            generations.older = mem::take(&mut generations.younger);
        }
        if generations.younger.len() < MAX_DENIALS {
            generations.younger.insert(bucket, remembered);
        }
    }

    /// Forgets all: buckets were reset.
    pub(crate) fn forget(&self) {
        let mut generations = self.lock();
        generations.younger.clear();
        generations.older.clear();
    }

    /// No update is ever left half done by a panic, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartialEq for Bucket {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.limit, &other.limit)
            && self.cost == other.cost
            && self.group == other.group
    }
}

impl Eq for Bucket {}

impl Hash for Bucket {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.limit).hash(state);
        self.cost.hash(state);
        self.group.hash(state);
    }
}

#[cfg(test)]
mod tests;
