//! The deny cache: denials that the limiter need not be asked for again.
//!
//! It is that of the limiter's own store, one step nearer to the caller, and by the same rules. A
//! denial tells when its bucket will hold the tokens, and nothing but time fills a bucket. Until
//! then the same cost of the same bucket is denied, whoever asks and whichever replica would have
//! decided. The limiter's time of the denial is not known, only that it lies between the check and
//! its answer. Counted from before the check was sent, nobody is denied longer than the limiter
//! would deny; what is left to wait counts from the answer, so that whoever waits as told has
//! waited enough.
//!
//! The client knows no policies, and needs none: a denial names the limit that refused, and so the
//! bucket. A check can touch four at most. That a bucket was reset or its limit raised is seen when
//! the denial is forgotten, soon enough for people who wait for it.
//!
//! What a limiter has decided without its store is not remembered. It speaks for the buckets of one
//! replica, and the others, and the store once it is back, may say something else.

use std::{
    collections::HashMap,
    mem,
    num::NonZeroU32,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use foldhash::fast::RandomState;
use tokio::time::Instant;
use toolgate_limit::{
    Answer, BucketStatus, Check, Decision, Denial, Group, Operation, Scope, ServerId, UserKey,
};

use crate::counters::Counter;

/// The most denials in one of two generations, which is some megabytes for both.
const MAX_DENIALS: usize = 8_192;

/// What was denied of late.
#[derive(Debug)]
pub(crate) struct Denials {
    longest: Duration,
    began: Instant,
    /// When the last of all waits ends, in nanoseconds since `began`. From then on no check has to
    /// look, which is nearly always where nobody reaches a limit.
    ends: AtomicU64,
    generations: Mutex<Generations>,
    hits: Counter,
}

/// The older generation is dropped as a whole when the younger is full or as old as a denial may
/// be, so nothing has to be looked for.
#[derive(Debug)]
struct Generations {
    since: Instant,
    younger: Map,
    older: Map,
}

type Map = HashMap<Bucket, Remembered, RandomState>;

/// One bucket, and what was asked of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Bucket {
    server: ServerId,
    group: Group,
    operation: Option<Operation>,
    cost: NonZeroU32,
}

#[derive(Clone, Debug)]
struct Remembered {
    /// When the check was about to be sent that was denied.
    sent: Instant,
    answered: Instant,
    retry_after: Duration,
    /// The refusing bucket then.
    status: BucketStatus,
}

impl Denials {
    /// Remembers each denial for `longest` at most; zero for none at all.
    pub(crate) fn new(longest: Duration) -> Self {
        let began = Instant::now();
        Self {
            longest,
            began,
            ends: AtomicU64::new(0),
            generations: Mutex::new(Generations {
                since: began,
                younger: Map::default(),
                older: Map::default(),
            }),
            hits: Counter::default(),
        }
    }

    /// Checks that were denied from here.
    pub(crate) fn hits(&self) -> u64 {
        self.hits.get()
    }

    /// The denial of `check` at `now`, if a bucket that it could touch is known not to hold the
    /// tokens yet. It shows that bucket alone.
    pub(crate) fn answer(&self, check: &Check, now: Instant) -> Option<Answer> {
        // One that is being remembered just now may be missed: then its check is asked, as before.
        if self.nanos(now) >= self.ends.load(Ordering::Relaxed) {
            return None;
        }
        let buckets = buckets(check);
        let generations = self.lock();
        let answer = buckets.into_iter().flatten().find_map(|bucket| {
            let known = generations.younger.get(&bucket);
            let known = known.or_else(|| generations.older.get(&bucket))?;
            known.again(self.longest, bucket.cost, now)
        });
        drop(generations);
        if answer.is_some() {
            self.hits.increment();
        }
        answer
    }

    /// Remembers `answer`, which has just come, if it is a denial by the store that ends, to `check`,
    /// which was about to be sent at `sent`.
    pub(crate) fn remember(&self, check: &Check, answer: &Answer, sent: Instant) {
        let Decision::Denied(denial) = &answer.decision else {
            return;
        };
        if answer.degraded || self.longest.is_zero() {
            return;
        }
        // A limit that this version could not read whole has no status; it may be another bucket.
        let mut statuses = answer.buckets.iter();
        let status = statuses.find(|status| status.limit == denial.limit);
        let (Some(retry_after), Some(status)) = (denial.retry_after, status) else {
            return;
        };
        let bucket = Bucket {
            server: check.server.clone(),
            group: match denial.limit.scope() {
                Scope::Global => Group::Global,
                Scope::PerUser => Group::User(UserKey::of(&check.identity)),
            },
            operation: denial.limit.operation().cloned(),
            cost: check.cost,
        };
        let remembered = Remembered {
            sent,
            answered: Instant::now(),
            retry_after,
            status: status.clone(),
        };
        let mut generations = self.lock();
        let age = sent.saturating_duration_since(generations.since);
        if age >= self.longest || generations.younger.len() >= MAX_DENIALS {
            generations.since = sent;
            generations.older = mem::take(&mut generations.younger);
        }
        generations.younger.insert(bucket, remembered);
        drop(generations);
        let lasts = u64::try_from(retry_after.min(self.longest).as_nanos()).unwrap_or(u64::MAX);
        let ends = self.nanos(sent).saturating_add(lasts);
        self.ends.fetch_max(ends, Ordering::Relaxed);
    }

    fn nanos(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.began);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    /// No update is ever left half done by a panic, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that `check` could touch, in the order of a plan.
fn buckets(check: &Check) -> [Option<Bucket>; 4] {
    let bucket = |group: &Group, operation: Option<&Operation>| Bucket {
        server: check.server.clone(),
        group: group.clone(),
        operation: operation.cloned(),
        cost: check.cost,
    };
    let (all, user) = (Group::Global, Group::User(UserKey::of(&check.identity)));
    let of_operation = |group| {
        let operation = check.operation.as_ref()?;
        Some(bucket(group, Some(operation)))
    };
    [
        Some(bucket(&all, None)),
        of_operation(&all),
        Some(bucket(&user, None)),
        of_operation(&user),
    ]
}

impl Remembered {
    /// The same denial at `now`, unless its wait is over or it is older than `longest`.
    fn again(&self, longest: Duration, cost: NonZeroU32, now: Instant) -> Option<Answer> {
        let age = now.saturating_duration_since(self.sent);
        if age >= self.retry_after.min(longest) {
            return None;
        }
        let passed = now.saturating_duration_since(self.answered);
        let denial = Denial {
            limit: self.status.limit.clone(),
            retry_after: Some(self.retry_after.saturating_sub(passed)),
            cost: cost.get(),
        };
        let status = BucketStatus {
            full_after: self.status.full_after.saturating_sub(passed),
            ..self.status.clone()
        };
        Some(Answer {
            decision: Decision::Denied(denial),
            buckets: vec![status],
            unlimited: false,
            shadowed: None,
            degraded: false,
        })
    }
}

#[cfg(test)]
mod tests;
