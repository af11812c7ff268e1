//! Denials that Redis need not be asked for again: the deny cache of all workers of a replica.
//!
//! A bucket is found by the very limit that denied, so a new snapshot, which has limits of its own,
//! forgets all.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use hashbrown::Equivalent;
use tokio::time::Instant;
use toolgate_limit::{Answer, Denials as Cache, Group, Limit, Plan};

/// The most buckets in one of two generations.
const MAX_BUCKETS: usize = 32_768;

/// What was denied of late.
#[derive(Debug)]
pub(crate) struct Denials(Cache<Bucket>);

/// One bucket, and what was asked of it.
#[derive(Debug)]
struct Bucket {
    limit: Arc<Limit>,
    group: Group,
    cost: u32,
}

/// The same by reference.
#[derive(Clone, Copy)]
struct Name<'a> {
    limit: &'a Arc<Limit>,
    group: &'a Group,
    cost: u32,
}

impl Denials {
    /// Remembers each denial for `longest` at most; zero for none at all.
    pub(crate) fn new(longest: Duration) -> Self {
        let now = Instant::now().into_std();
        Self(Cache::new(longest, MAX_BUCKETS, now))
    }

    /// For each of `plans` its denial at `now`, if its buckets are known and one of them refuses.
    /// Nothing at all if nothing is known of any.
    pub(crate) fn answers(&self, plans: &[Plan], now: Instant) -> Vec<Option<Answer>> {
        let now = now.into_std();
        let Some(known) = self.0.look(now) else {
            return Vec::new();
        };
        let answer = |plan| known.answer(names(plan), plan.cost(), now);
        plans.iter().map(answer).collect()
    }

    /// Remembers `answer`, if it is a denial that ends, to `plan`, which came at `sent` and was
    /// answered at `answered`.
    pub(crate) fn remember(
        &self,
        plan: &Plan,
        answer: &Answer,
        (sent, answered): (Instant, Instant),
    ) {
        if !self.0.remembers(answer) {
            return;
        }
        let buckets = names(plan).zip(&answer.buckets);
        let buckets = buckets.map(|(name, status)| (name.into(), Some(status)));
        self.0
            .remember(answer, (sent.into_std(), answered.into_std()), buckets);
    }

    /// A reset is about to be sent. It ends when this is dropped, unless it was done before.
    pub(crate) fn resetting(&self) -> Resetting<'_> {
        self.0.reset_begins();
        Resetting {
            cache: &self.0,
            is_done: false,
        }
    }
}

/// A reset that is on its way. If nobody waits for it any more it may still be done later; nothing
/// that Redis decides meanwhile is remembered.
#[derive(Debug)]
pub(crate) struct Resetting<'a> {
    cache: &'a Cache<Bucket>,
    is_done: bool,
}

impl Resetting<'_> {
    /// Redis has done it.
    pub(crate) fn done(mut self) {
        self.is_done = true;
    }
}

impl Drop for Resetting<'_> {
    fn drop(&mut self) {
        let now = Instant::now().into_std();
        // A command that was sent is carried out within moments, or its connection is gone.
        let at = if self.is_done {
            now
        } else {
            now + self.cache.longest()
        };
        self.cache.reset_ends(at);
    }
}

/// The buckets of `plan`, in its order.
fn names(plan: &Plan) -> impl Iterator<Item = Name<'_>> {
    let cost = plan.cost();
    plan.groups().iter().flat_map(move |planned| {
        let group = &planned.group;
        planned
            .limits
            .iter()
            .map(move |limit| Name { limit, group, cost })
    })
}

impl Bucket {
    const fn name(&self) -> Name<'_> {
        Name {
            limit: &self.limit,
            group: &self.group,
            cost: self.cost,
        }
    }
}

impl From<Name<'_>> for Bucket {
    fn from(name: Name<'_>) -> Self {
        Self {
            limit: Arc::clone(name.limit),
            group: name.group.clone(),
            cost: name.cost,
        }
    }
}

impl Equivalent<Bucket> for Name<'_> {
    fn equivalent(&self, bucket: &Bucket) -> bool {
        Arc::ptr_eq(self.limit, &bucket.limit)
            && self.cost == bucket.cost
            && *self.group == bucket.group
    }
}

impl PartialEq for Bucket {
    fn eq(&self, other: &Self) -> bool {
        self.name().equivalent(other)
    }
}

impl Eq for Bucket {}

impl Hash for Name<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(self.limit).hash(state);
        self.cost.hash(state);
        self.group.hash(state);
    }
}

impl Hash for Bucket {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

#[cfg(test)]
mod tests;
