//! Checks that travel to Redis in one script call, and what its reply means for each.
//!
//! The reply holds the time of the batch, one decision for each check, and the buckets as they
//! were before. That is all: every later state follows from the pure arithmetic that Lua and Rust
//! share, so Redis, which everyone waits for, neither computes nor sends it.

use std::collections::HashMap;

use redis::{Cmd, Value, cmd};
use smallvec::SmallVec;
use toolgate_limit::{Answer, Bucket, Group, Plan, Quota, ServerId, StoreError, Timestamp, take};

use crate::{
    error::corrupt,
    key::key,
    record,
    reply::{self, ALLOWED, UNDECIDED},
};

/// The most checks in one batch. Redis serves nobody else while it decides one.
pub(crate) const MAX_CHECKS: usize = 64;

/// Checks to decide together, in order.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    plans: Vec<Planned>,
    hashes: Vec<Hash>,
    hash_of: HashMap<(ServerId, Group), usize>,
    bucket_count: usize,
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

#[derive(Debug)]
struct Hash {
    key: String,
    fields: Vec<(String, Quota)>,
}

impl Batch {
    /// Adds `plan` as the last check. Gives it back if it must go into the next batch: this one is
    /// full, or the two come from different snapshots and give one bucket different quotas.
    pub(crate) fn add(&mut self, plan: Plan) -> Result<(), Plan> {
        if self.plans.len() >= MAX_CHECKS || self.conflicts_with(&plan) {
            return Err(plan);
        }
        let mut places = SmallVec::new();
        for planned in plan.groups() {
            let hash = self.hash(plan.server(), &planned.group);
            for limit in &planned.limits {
                let field = self.field(hash, limit.field(), limit.quota());
                places.push(Place { hash, field });
            }
        }
        self.plans.push(Planned { plan, places });
        Ok(())
    }

    fn conflicts_with(&self, plan: &Plan) -> bool {
        plan.groups().iter().any(|planned| {
            let Some(&hash) = self
                .hash_of
                .get(&(plan.server().clone(), planned.group.clone()))
            else {
                return false;
            };
            let fields = &self.hashes[hash].fields;
            planned.limits.iter().any(|limit| {
                let same_bucket = fields.iter().find(|(name, _)| name == limit.field());
                same_bucket.is_some_and(|(_, quota)| *quota != limit.quota())
            })
        })
    }

    fn hash(&mut self, server: &ServerId, group: &Group) -> usize {
        let hashes = &mut self.hashes;
        let in_store = (server.clone(), group.clone());
        *self.hash_of.entry(in_store).or_insert_with(|| {
            hashes.push(Hash {
                key: key(server, group),
                fields: Vec::new(),
            });
            hashes.len() - 1
        })
    }

    fn field(&mut self, hash: usize, name: &str, quota: Quota) -> usize {
        let fields = &mut self.hashes[hash].fields;
        if let Some(field) = fields.iter().position(|(known, _)| known == name) {
            return field;
        }
        fields.push((name.to_owned(), quota));
        self.bucket_count += 1;
        fields.len() - 1
    }

    /// The script call, in the form that `check.lua` describes; `verb` and `script` are `EVALSHA`
    /// and a hash, or `EVAL` and a text.
    pub(crate) fn command(&self, verb: &str, script: &str) -> Cmd {
        let mut layout = Vec::with_capacity(2 * self.hashes.len() + 10 * self.bucket_count);
        for hash in &self.hashes {
            layout.extend(&hash.fields.len().to_le_bytes()[..2]);
            for (_, quota) in &hash.fields {
                layout.extend(quota.capacity().to_le_bytes());
                layout.extend(&quota.period_micros().to_le_bytes()[..6]);
            }
        }
        let first_bucket = self.first_buckets();
        let mut checks = Vec::with_capacity(16 * self.plans.len());
        for Planned { plan, places } in &self.plans {
            checks.extend(plan.cost().to_le_bytes());
            checks.extend(&places.len().to_le_bytes()[..1]);
            for place in places {
                let from_one = first_bucket[place.hash] + place.field + 1;
                checks.extend(&from_one.to_le_bytes()[..2]);
            }
        }

        let mut command = cmd(verb);
        command.arg(script).arg(self.hashes.len());
        for hash in &self.hashes {
            command.arg(&hash.key);
        }
        command.arg(layout).arg(checks);
        for (name, _) in self.hashes.iter().flat_map(|hash| &hash.fields) {
            command.arg(name);
        }
        command
    }

    /// For each hash, how many buckets lie before its first.
    fn first_buckets(&self) -> Vec<usize> {
        let counts = self.hashes.iter().map(|hash| hash.fields.len());
        counts
            .scan(0, |before, count| {
                let first = *before;
                *before += count;
                Some(first)
            })
            .collect()
    }

    /// The answers, in the order of the checks, from the script's reply.
    pub(crate) fn answers(
        &self,
        reply: Value,
    ) -> Result<Vec<Result<Answer, StoreError>>, StoreError> {
        let reply = reply::parse(reply, self.hashes.iter().map(|hash| hash.fields.len()))?;
        if reply.decisions.len() != self.plans.len() {
            return Err(corrupt("the script did not decide every check"));
        }
        let hashes = self.hashes.iter().zip(&reply.values);
        let mut buckets: Vec<Vec<Option<Bucket>>> = hashes
            .map(|(hash, values)| {
                let states = hash.fields.iter().zip(values);
                states
                    .map(|((_, quota), value)| state(value.as_deref(), *quota, reply.time))
                    .collect()
            })
            .collect();
        let decided = self.plans.iter().zip(&reply.decisions);
        Ok(decided
            .map(|(planned, &decision)| planned.answer(&mut buckets, decision, reply.time))
            .collect())
    }
}

impl Planned {
    /// The answer on `buckets`, which are then as the check leaves them. The script's `decision`
    /// must be ours.
    fn answer(
        &self,
        buckets: &mut [Vec<Option<Bucket>>],
        decision: u8,
        time: Timestamp,
    ) -> Result<Answer, StoreError> {
        let at = |place: &Place| buckets[place.hash].get(place.field).copied().flatten();
        let read: Option<SmallVec<[Bucket; 4]>> = self.places.iter().map(at).collect();
        let Some(mut of_plan) = read.filter(|_| decision != UNDECIDED) else {
            return Err(corrupt(
                "a value under this call's keys is no bucket; reset it, or delete it in Redis",
            ));
        };
        let answer = take(&self.plan, &mut of_plan, time);
        if answer.decision.is_allowed() != (decision == ALLOWED) {
            return Err(corrupt("Lua and Rust do not agree on a decision"));
        }
        for (place, bucket) in self.places.iter().zip(of_plan) {
            buckets[place.hash][place.field] = Some(bucket);
        }
        Ok(answer)
    }
}

/// The bucket in `value`, or a full one, at `time`; none if the value is no bucket.
pub(crate) fn state(value: Option<&[u8]>, quota: Quota, time: Timestamp) -> Option<Bucket> {
    match value {
        None => Some(Bucket::full(quota, time)),
        Some(bytes) => Some(record::decode(bytes)?.at(quota, time)),
    }
}
