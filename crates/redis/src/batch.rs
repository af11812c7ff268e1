//! Checks that travel to Redis in one script call, and what its reply means for each.
//!
//! The reply holds the time of the batch, one decision for each check, and the buckets as they
//! were before. That is all: every later state follows from the pure arithmetic that Lua and Rust
//! share, so Redis, which everyone waits for, neither computes nor sends it.

use std::{collections::HashMap, sync::Arc};

use redis::{Cmd, Value};
use smallvec::SmallVec;
use toolgate_limit::{
    Answer, Bucket, Group, Limit, Plan, Quota, ServerId, StoreError, Timestamp, take,
};

use crate::{
    error::corrupt,
    key::key,
    record,
    reply::{ALLOWED, Before, Reply, UNDECIDED},
};

mod layout;

/// The most checks in one batch. Redis serves nobody else while it decides one.
pub(crate) const MAX_CHECKS: usize = 64;

/// Checks to decide together, in order.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    checks: Vec<Planned>,
    hashes: Vec<Hash>,
    hash_of: HashMap<(ServerId, Group), usize, foldhash::fast::RandomState>,
}

/// A plan and where its buckets are, as places in the batch's hashes.
#[derive(Debug)]
struct Planned {
    plan: Plan,
    places: SmallVec<[Place; 4]>,
}

/// One bucket of the batch: a hash, and a field in it.
#[derive(Clone, Copy, Debug)]
struct Place {
    hash: usize,
    field: usize,
}

/// A hash in Redis and those of its fields that the batch touches.
#[derive(Debug)]
struct Hash {
    key: String,
    fields: SmallVec<[Arc<Limit>; 2]>,
}

impl Batch {
    /// Adds `plan` as the last check. Gives it back if it must go into the next batch: this one is
    /// full, or the two come from different snapshots and give one bucket different quotas.
    pub(crate) fn add(&mut self, plan: Plan) -> Result<(), Plan> {
        if self.checks.len() >= MAX_CHECKS {
            return Err(plan);
        }
        let mut places = SmallVec::new();
        for planned in plan.groups() {
            let hash = self.hash(plan.server(), &planned.group);
            for limit in &planned.limits {
                match self.hashes[hash].field(limit) {
                    // Fields that were added on the way here stay; they cost a look at them.
                    None => return Err(plan),
                    Some(field) => places.push(Place { hash, field }),
                }
            }
        }
        self.checks.push(Planned { plan, places });
        Ok(())
    }

    fn hash(&mut self, server: &ServerId, group: &Group) -> usize {
        let hashes = &mut self.hashes;
        let in_store = (server.clone(), group.clone());
        *self.hash_of.entry(in_store).or_insert_with(|| {
            hashes.push(Hash {
                key: key(server, group),
                fields: SmallVec::new(),
            });
            hashes.len() - 1
        })
    }

    /// The script call, in the form that `check.lua` describes; `verb` and `script` are `EVALSHA`
    /// and a hash, or `EVAL` and a text.
    pub(crate) fn command(&self, verb: &str, script: &str) -> Cmd {
        layout::command(self, verb, script)
    }

    /// The answers, in the order of the checks, from the script's reply.
    pub(crate) fn answers(
        &self,
        reply: Value,
    ) -> Result<Vec<Result<Answer, StoreError>>, StoreError> {
        let reply = Reply::try_from(reply)?;
        let first = self.first_buckets();
        if reply.decisions.len() != self.checks.len() || reply.before.len() != first.count {
            return Err(corrupt("the script's reply is not about this batch"));
        }
        let limits = self.hashes.iter().flat_map(|hash| &hash.fields);
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
        for hash in &self.hashes {
            of_hash.push(count);
            count += hash.fields.len();
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
        self.of_hash[place.hash] + place.field
    }
}

impl Hash {
    /// The place of the bucket of `limit`; none if the bucket is here with another quota.
    fn field(&mut self, limit: &Arc<Limit>) -> Option<usize> {
        // Within a snapshot every limit is there once, so hardly ever are names compared.
        if let Some(same) = self
            .fields
            .iter()
            .position(|known| Arc::ptr_eq(known, limit))
        {
            return Some(same);
        }
        match self
            .fields
            .iter()
            .position(|known| known.field() == limit.field())
        {
            Some(same) if self.fields[same].quota() == limit.quota() => Some(same),
            Some(_) => None,
            None => {
                self.fields.push(Arc::clone(limit));
                Some(self.fields.len() - 1)
            }
        }
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
