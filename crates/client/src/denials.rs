//! The deny cache of a client: denials that its limiters need not be asked for again.
//!
//! It is the cache of the limiter's own store, one step nearer to the caller. The client knows no
//! policies, and needs none: the reply to a denied check shows all of its buckets, and a check can
//! touch four at most. That a bucket was reset or its limit raised is seen when the denial is
//! forgotten, soon enough for people who wait for it.
//!
//! A limiter's denial without its store is not remembered. It speaks for the buckets of one replica,
//! and the others, and the store once it is back, may say something else.

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use hashbrown::Equivalent;
use tokio::time::Instant;
use toolgate_limit::{
    Answer, BucketStatus, Check, Decision, Denials as Cache, Identity, Operation, Scope, ServerId,
};

use crate::counters::Counter;

/// The most buckets in one of two generations, which is some megabytes for both.
const MAX_BUCKETS: usize = 8_192;

/// What was denied of late.
#[derive(Debug)]
pub(crate) struct Denials {
    cache: Cache<Bucket>,
    hits: Counter,
}

/// One bucket, and what was asked of it.
#[derive(Debug)]
struct Bucket {
    server: ServerId,
    /// None: all callers share it.
    user: Option<User<Box<str>>>,
    operation: Option<Operation>,
    cost: u32,
}

/// The same by reference.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Name<'a> {
    server: &'a ServerId,
    user: Option<User<&'a str>>,
    operation: Option<&'a Operation>,
    cost: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum User<T> {
    Anonymous,
    Named { issuer: T, subject: T },
}

impl Denials {
    /// Remembers each denial for `longest` at most; zero for none at all.
    pub(crate) fn new(longest: Duration) -> Self {
        let now = Instant::now().into_std();
        Self {
            cache: Cache::new(longest, MAX_BUCKETS, now),
            hits: Counter::default(),
        }
    }

    /// Checks that were denied from here.
    pub(crate) fn hits(&self) -> u64 {
        self.hits.get()
    }

    /// The denial of `check` at `now`, if its buckets are known and one of them refuses.
    pub(crate) fn answer(&self, check: &Check, now: Instant) -> Option<Answer> {
        let now = now.into_std();
        let known = self.cache.look(now)?;
        let answer = known.answer(names(check), check.cost.get(), now);
        drop(known);
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
        // A limit that this version could not read whole has no status; it may be another bucket.
        let is_whole = answer.buckets.iter().any(|b| b.limit == denial.limit);
        if !is_whole || !self.cache.remembers(answer) {
            return;
        }
        let times = (sent.into_std(), Instant::now().into_std());
        let buckets = names(check).map(|name| (name.into(), name.status(answer)));
        self.cache.remember(answer, times, buckets);
    }
}

/// All that `check` could touch, in the order of a plan.
fn names(check: &Check) -> impl Iterator<Item = Name<'_>> {
    let users = [None, Some(User::of(&check.identity))];
    let operation = check.operation.as_ref();
    users.into_iter().flat_map(move |user| {
        let name = move |operation| Name {
            server: &check.server,
            user,
            operation,
            cost: check.cost.get(),
        };
        let of_operation = operation.map(|operation| name(Some(operation)));
        [Some(name(None)), of_operation].into_iter().flatten()
    })
}

impl<'a> User<&'a str> {
    /// Groups make no other user, and all without a subject are one.
    fn of(identity: &'a Identity) -> Self {
        match identity.subject() {
            None => Self::Anonymous,
            Some(subject) => Self::Named {
                issuer: identity.issuer().unwrap_or_default(),
                subject,
            },
        }
    }
}

impl Name<'_> {
    /// What `answer` says of this bucket.
    fn status(self, answer: &Answer) -> Option<&BucketStatus> {
        let scope = match self.user {
            None => Scope::Global,
            Some(_) => Scope::PerUser,
        };
        let is_own = |status: &&BucketStatus| {
            status.limit.scope() == scope && status.limit.operation() == self.operation
        };
        answer.buckets.iter().find(is_own)
    }
}

impl Bucket {
    fn name(&self) -> Name<'_> {
        let user = self.user.as_ref().map(|user| match user {
            User::Anonymous => User::Anonymous,
            User::Named { issuer, subject } => User::Named {
                issuer: &**issuer,
                subject: &**subject,
            },
        });
        Name {
            server: &self.server,
            user,
            operation: self.operation.as_ref(),
            cost: self.cost,
        }
    }
}

impl From<Name<'_>> for Bucket {
    fn from(name: Name<'_>) -> Self {
        let user = name.user.map(|user| match user {
            User::Anonymous => User::Anonymous,
            User::Named { issuer, subject } => User::Named {
                issuer: issuer.into(),
                subject: subject.into(),
            },
        });
        Self {
            server: name.server.clone(),
            user,
            operation: name.operation.cloned(),
            cost: name.cost,
        }
    }
}

impl Equivalent<Bucket> for Name<'_> {
    fn equivalent(&self, bucket: &Bucket) -> bool {
        *self == bucket.name()
    }
}

impl PartialEq for Bucket {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Bucket {}

impl Hash for Bucket {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

#[cfg(test)]
mod tests;
