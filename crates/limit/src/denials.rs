//! The deny cache: denials that the store need not be asked for again.
//!
//! A denial tells when each bucket of its check will hold the tokens, and nothing but time fills a
//! bucket. Until then the same cost of the same bucket is denied, whoever asks and whichever replica
//! would decide. A limiter keeps such a cache before its store, and a client one before its limiters.
//!
//! # Who shares a cache
//!
//! A cache belongs to the buckets of one store: one Redis and key prefix, or one limiter service. The
//! workers of a limiter share one, and the clones of a client. A denial of one caller answers
//! another caller where both touch the same bucket. So a key of the cache must name the bucket: with
//! the user where the bucket is one user's, and without where all callers share it.
//!
//! # Which answer
//!
//! The longest wait of all buckets is told. So a check is answered from here only if every one of its
//! buckets is known, and at least one is known to refuse. A bucket that had its tokens is remembered
//! too; what others have taken from it since is seen when that is forgotten.
//!
//! # Time
//!
//! The store decides at some time between the request and its reply, and only both ends are known
//! here. A denial is certain for its wait from the request on: the cache never denies when the store
//! would allow. The wait that is told counts from the reply on: whoever waits as told has waited
//! enough. The difference is the answer's [`uncertainty`](Answer::uncertainty), by which the true wait
//! may be shorter. A cache on top of another takes it off, so both together deny no longer than the
//! store.
//!
//! # When to forget
//!
//! Everything after `longest`, so that a limit that was changed elsewhere, or a bucket that another
//! replica has reset, is seen. Everything when a bucket is reset through this replica, and then also
//! the denials that were on their way: a request that was sent before the reset was over tells nothing
//! ([`Denials::reset_ends`]).

use std::{
    hash::Hash,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;
use hashbrown::{Equivalent, HashMap};

use crate::{Answer, BucketStatus, Decision, Denial};

/// What was denied of late, by keys that name a bucket and the cost that was asked of it.
#[derive(Debug)]
pub struct Denials<K> {
    longest: Duration,
    most: usize,
    began: Instant,
    /// When the last denial ends, in nanoseconds since `began`. From then on no check has to look,
    /// which is nearly always where nobody reaches a limit.
    ends: AtomicU64,
    memory: Mutex<Memory<K>>,
}

/// The older generation is dropped as a whole when the younger is full or as old as an entry may be,
/// so nothing has to be looked for.
#[derive(Debug)]
struct Memory<K> {
    since: Instant,
    younger: Map<K>,
    older: Map<K>,
    /// Resets that have begun and not ended.
    resets: usize,
    /// Requests sent up to then may have been decided before a reset.
    reset_at: Option<Instant>,
}

type Map<K> = HashMap<K, Known, RandomState>;

/// What a reply has said of one bucket.
#[derive(Debug)]
struct Known {
    /// When the request was about to be sent.
    sent: Instant,
    answered: Instant,
    /// The wait, if the store decided when the request was sent. Zero: it may have the tokens.
    certain: Duration,
    /// The wait, if the store decided when the reply came.
    told: Duration,
    /// None: there is no such limit.
    status: Option<BucketStatus>,
}

/// A cache that may know something.
#[derive(Debug)]
pub struct Look<'a, K> {
    longest: Duration,
    memory: MutexGuard<'a, Memory<K>>,
}

/// How far apart two roundings of one wait to whole microseconds may be.
const ROUNDING: Duration = Duration::from_micros(1);

impl<K: Eq + Hash> Denials<K> {
    /// Remembers for `longest`, zero for not at all; at most twice `most` buckets.
    pub fn new(longest: Duration, most: usize, now: Instant) -> Self {
        Self {
            longest,
            most,
            began: now,
            ends: AtomicU64::new(0),
            memory: Mutex::new(Memory {
                since: now,
                younger: Map::default(),
                older: Map::default(),
                resets: 0,
                reset_at: None,
            }),
        }
    }

    /// Leave to look for denials; none if all are over at `now`.
    pub fn look(&self, now: Instant) -> Option<Look<'_, K>> {
        // A denial that is being remembered just now may be missed: then its check is asked.
        (self.nanos(now) < self.ends.load(Ordering::Relaxed)).then(|| Look {
            longest: self.longest,
            memory: self.lock(),
        })
    }

    /// Whether `answer` is one to remember: a denial by the store that ends.
    pub fn remembers(&self, answer: &Answer) -> bool {
        let ends = matches!(&answer.decision, Decision::Denied(d) if d.retry_after.is_some());
        ends && !answer.degraded && !self.longest.is_zero()
    }

    /// Remembers `answer`, if it is one to remember, whose request was about to be sent at `sent` and
    /// whose reply came at `answered`. `buckets` are all that the check could touch, each with what
    /// the answer says of it; none if the policy has no such limit.
    pub fn remember<'a>(
        &self,
        answer: &Answer,
        (sent, answered): (Instant, Instant),
        buckets: impl IntoIterator<Item = (K, Option<&'a BucketStatus>)>,
    ) {
        let Decision::Denied(denial) = &answer.decision else {
            return;
        };
        if !self.remembers(answer) {
            return;
        }
        let mut memory = self.lock();
        if memory.resets > 0 || memory.reset_at.is_some_and(|reset| sent <= reset) {
            return;
        }
        let mut longest = Duration::ZERO;
        for (key, status) in buckets {
            let (certain, told) = status.map_or_else(Default::default, |s| waits(s, denial));
            let known = Known {
                sent,
                answered,
                certain: certain.saturating_sub(answer.uncertainty),
                told,
                status: status.cloned(),
            };
            longest = longest.max(known.certain);
            let age = sent.saturating_duration_since(memory.since);
            if age >= self.longest || memory.younger.len() >= self.most {
                memory.since = sent;
                memory.older = mem::take(&mut memory.younger);
            }
            memory.younger.insert(key, known);
        }
        drop(memory);
        let lasts = u64::try_from(longest.min(self.longest).as_nanos()).unwrap_or(u64::MAX);
        let ends = self.nanos(sent).saturating_add(lasts);
        self.ends.fetch_max(ends, Ordering::Relaxed);
    }

    /// A reset of buckets is about to be sent. Until it has ended nothing is remembered.
    pub fn reset_begins(&self) {
        let mut memory = self.lock();
        memory.forget();
        memory.resets += 1;
    }

    /// A reset has ended, and takes effect by `at` if it ever does: now, if it was answered. Requests
    /// sent up to then tell nothing.
    pub fn reset_ends(&self, at: Instant) {
        let mut memory = self.lock();
        memory.forget();
        memory.resets = memory.resets.saturating_sub(1);
        memory.reset_at = memory.reset_at.max(Some(at));
    }

    /// How long anything is remembered at most.
    pub const fn longest(&self) -> Duration {
        self.longest
    }

    fn nanos(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.began);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    /// No update is ever left half done by a panic, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, Memory<K>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Memory<K> {
    fn forget(&mut self) {
        self.younger.clear();
        self.older.clear();
    }
}

impl<K: Eq + Hash> Look<'_, K> {
    /// The denial at `now` of a check that asks `cost` of `buckets`, which are all that it could
    /// touch, in their order; none if the store must be asked.
    pub fn answer<Q: Hash + Equivalent<K>>(
        &self,
        buckets: impl IntoIterator<Item = Q>,
        cost: u32,
        now: Instant,
    ) -> Option<Answer> {
        let mut statuses = Vec::new();
        let (mut is_certain, mut uncertainty) = (false, Duration::ZERO);
        let mut longest: Option<(Duration, usize)> = None;
        for bucket in buckets {
            let known = self.memory.younger.get(&bucket);
            let known = known.or_else(|| self.memory.older.get(&bucket))?;
            let age = now.saturating_duration_since(known.sent);
            if age >= self.longest {
                return None;
            }
            let Some(status) = &known.status else {
                continue;
            };
            is_certain |= age < known.certain;
            let passed = now.saturating_duration_since(known.answered);
            let wait = known.told.saturating_sub(passed);
            // The first of the longest, as in a decision of the store.
            if longest.is_none_or(|(longest, _)| wait > longest) {
                longest = Some((wait, statuses.len()));
            }
            let trip = known.answered.saturating_duration_since(known.sent);
            uncertainty = uncertainty.max(trip + known.told.saturating_sub(known.certain));
            statuses.push(BucketStatus {
                full_after: status.full_after.saturating_sub(passed),
                ..status.clone()
            });
        }
        let (wait, place) = longest.filter(|_| is_certain)?;
        let denial = Denial {
            limit: Arc::clone(&statuses[place].limit),
            retry_after: Some(wait),
            cost,
        };
        Some(Answer {
            decision: Decision::Denied(denial),
            policy: Some(statuses[place].limit.server().clone()),
            buckets: statuses,
            unlimited: false,
            shadowed: None,
            degraded: false,
            uncertainty,
        })
    }
}

/// The wait of one bucket of a denied check: what it is at least, and what it is at most.
fn waits(status: &BucketStatus, denial: &Denial) -> (Duration, Duration) {
    if status.limit == denial.limit {
        let wait = denial.retry_after.unwrap_or_default();
        return (wait, wait);
    }
    if status.remaining >= denial.cost {
        return (Duration::ZERO, Duration::ZERO);
    }
    // It is full as much later as the rest of the capacity takes to refill.
    let quota = status.limit.quota();
    let rest = u128::from(quota.capacity().saturating_sub(denial.cost));
    let nanos = rest * quota.refill_period().as_nanos() / u128::from(quota.capacity());
    let refill = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
    let wait = status.full_after.saturating_sub(refill);
    (wait.saturating_sub(2 * ROUNDING), wait + ROUNDING)
}

#[cfg(test)]
mod tests;
