//! Checks that travel to Redis in one script call, and what its reply means for each.
//!
//! The reply holds the time of the batch, one decision for each check, and the buckets as they
//! were before. That is all: every later state follows from the pure arithmetic that Lua and Rust
//! share, so Redis, which everyone waits for, neither computes nor sends it.

use std::{mem, sync::Arc};

use foldhash::fast::RandomState;
use indexmap::{Equivalent, IndexMap};
use redis::{Cmd, Value};
use smallvec::SmallVec;
use toolgate_limit::{
    Answer, Bucket, Group, Limit, Plan, Quota, ServerId, StoreError, Timestamp, take,
};

use crate::{
    error::{corrupt, garbled},
    key::KeyPrefix,
    record,
    reply::{ALLOWED, Before, Reply, UNDECIDED},
};

mod layout;

use layout::byte;
pub(crate) use layout::probe;

/// The most checks in one batch. Redis serves nobody else while it decides one, which takes about
/// half a millisecond. The odd number is so that each of their buckets has a number of one byte.
pub const MAX_CHECKS: usize = 63;

/// The most buckets in one batch.
const MAX_BUCKETS: usize = MAX_CHECKS * Plan::MAX_BUCKETS_OF_CHECK;

/// Checks to decide together, in order.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    checks: Vec<Planned>,
    hashes: IndexMap<InStore, Fields, RandomState>,
}

/// A plan and where its buckets are, as places in the batch's hashes.
#[derive(Debug)]
struct Planned {
    plan: Plan,
    places: SmallVec<[Place; Plan::MAX_BUCKETS_OF_CHECK]>,
}

/// One bucket of the batch: a hash, and a field in it.
#[derive(Clone, Copy, Debug)]
struct Place {
    hash: u8,
    field: u8,
}

/// A hash in Redis.
type InStore = (ServerId, Group);

/// The same, to look for.
#[derive(Hash)]
struct Sought<'a>(&'a ServerId, &'a Group);

impl Equivalent<InStore> for Sought<'_> {
    fn equivalent(&self, (server, group): &InStore) -> bool {
        self.1 == group && self.0 == server
    }
}

/// Those fields of a hash that the batch touches, by their limits.
#[derive(Debug, Default)]
struct Fields(SmallVec<[Arc<Limit>; 2]>);

impl Batch {
    /// Adds `plans` as the last checks. Gives them back if they must go into the next batch: this
    /// one is full, or they come from another snapshot and give a bucket another quota. An empty
    /// batch takes all plans of one snapshot, up to [`MAX_CHECKS`].
    pub(crate) fn add(&mut self, plans: Vec<Plan>) -> Result<(), Vec<Plan>> {
        if self.checks.len() + plans.len() > MAX_CHECKS {
            return Err(plans);
        }
        let before = self.checks.len();
        let mut plans = plans.into_iter();
        while let Some(plan) = plans.next() {
            if let Some(places) = self.places(&plan) {
                self.checks.push(Planned { plan, places });
            } else {
                let added = self.checks.drain(before..).map(|check| check.plan);
                let back = added.chain([plan]).chain(plans).collect();
                self.forget_unused();
                return Err(back);
            }
        }
        Ok(())
    }

    /// Leaves the hashes and fields that the checks touch, and no others.
    fn forget_unused(&mut self) {
        let checks = mem::take(self).checks;
        let plans = checks.into_iter().map(|check| check.plan).collect();
        let added = self.add(plans);
        debug_assert!(added.is_ok(), "they were in one batch before");
    }

    /// Whether there is nothing to decide.
    pub(crate) fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    /// The places of the buckets of `plan`; none if one is here with another quota.
    fn places(&mut self, plan: &Plan) -> Option<SmallVec<[Place; Plan::MAX_BUCKETS_OF_CHECK]>> {
        let mut places = SmallVec::new();
        for planned in plan.groups() {
            let hash = self.hash(plan.server(), &planned.group);
            for limit in &planned.limits {
                let field = self.hashes[hash].place(limit)?;
                places.push(Place {
                    hash: byte(hash),
                    field: byte(field),
                });
            }
        }
        Some(places)
    }

    fn hash(&mut self, server: &ServerId, group: &Group) -> usize {
        let known = self.hashes.get_index_of(&Sought(server, group));
        known.unwrap_or_else(|| {
            let in_store = (server.clone(), group.clone());
            self.hashes.insert_full(in_store, Fields::default()).0
        })
    }

    /// The script call on `keys`, in the form that `check.lua` describes; `verb` and `script` are
    /// `EVALSHA` and a hash, or `EVAL` and a text.
    pub(crate) fn command(&self, verb: &str, script: &str, keys: &KeyPrefix) -> Cmd {
        layout::command(self, &self.first_buckets(), (verb, script), keys)
    }

    /// The answers, in the order of the checks, from the script's reply.
    pub(crate) fn answers(
        &self,
        reply: Value,
    ) -> Result<Vec<Result<Answer, StoreError>>, StoreError> {
        let reply = Reply::try_from(reply)?;
        let first = self.first_buckets();
        if reply.decisions.len() != self.checks.len() || reply.before.len() != first.count {
            return Err(garbled("the script's reply is not about this batch"));
        }
        let limits = self.hashes.values().flat_map(|fields| &fields.0);
        let mut buckets: Vec<Option<Bucket>> = limits
            .zip(reply.before.iter())
            .map(|(limit, before)| match before {
                Before::None => Some(Bucket::full(limit.quota(), reply.time)),
                Before::Record(record) => state(record, limit.quota(), reply.time),
                Before::Broken => None,
            })
            .collect();
        let decided = self.checks.iter().zip(&reply.decisions);
        Ok(decided
            .map(|(check, &decision)| check.answer(&mut buckets, &first, decision, reply.time))
            .collect())
    }

    /// The checks, in order.
    pub(crate) fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.checks.iter().map(|check| &check.plan)
    }

    fn first_buckets(&self) -> FirstBuckets {
        let mut of_hash = Vec::with_capacity(self.hashes.len());
        let mut count = 0;
        for fields in self.hashes.values() {
            of_hash.push(count);
            count += fields.0.len();
        }
        FirstBuckets { of_hash, count }
    }
}

/// Buckets are numbered over all hashes, in order.
struct FirstBuckets {
    /// The number of each hash's first, from 0.
    of_hash: Vec<usize>,
    /// All buckets.
    count: usize,
}

impl FirstBuckets {
    fn number(&self, place: Place) -> usize {
        self.of_hash[usize::from(place.hash)] + usize::from(place.field)
    }
}

impl Fields {
    /// The place of the bucket of `limit`; none if the bucket is here with another quota.
    fn place(&mut self, limit: &Arc<Limit>) -> Option<usize> {
        // Within a snapshot every limit is there once, so hardly ever are names compared.
        let same = |known: &Arc<Limit>| Arc::ptr_eq(known, limit);
        if let Some(same) = self.0.iter().position(same) {
            return Some(same);
        }
        let same = |known: &Arc<Limit>| known.field() == limit.field();
        if let Some(same) = self.0.iter().position(same) {
            return (self.0[same].quota() == limit.quota()).then_some(same);
        }
        self.0.push(Arc::clone(limit));
        Some(self.0.len() - 1)
    }
}

impl Planned {
    /// The answer on `buckets`, which are then as the check leaves them. The script's `decision`
    /// must be ours.
    fn answer(
        &self,
        buckets: &mut [Option<Bucket>],
        first: &FirstBuckets,
        decision: u8,
        time: Timestamp,
    ) -> Result<Answer, StoreError> {
        let read = self
            .places
            .iter()
            .map(|&place| buckets[first.number(place)]);
        let read: Option<SmallVec<[Bucket; 4]>> = read.collect();
        let Some(mut of_plan) = read.filter(|_| decision != UNDECIDED) else {
            return Err(corrupt(
                "a value under this call's keys is no bucket; reset it, or delete it in Redis",
            ));
        };
        let answer = take(&self.plan, &mut of_plan, time);
        if answer.decision.is_allowed() != (decision == ALLOWED) {
            return Err(corrupt("Lua and Rust do not agree on a decision"));
        }
        for (&place, bucket) in self.places.iter().zip(of_plan) {
            buckets[first.number(place)] = Some(bucket);
        }
        Ok(answer)
    }
}

/// The bucket in `record` at `time`; none if it is no record.
pub(crate) fn state(record: &[u8], quota: Quota, time: Timestamp) -> Option<Bucket> {
    Some(record::decode(record)?.at(quota, time))
}

#[cfg(test)]
mod tests;
