//! Buckets in this process's memory: for one replica, for development and for tests.
//!
//! One mutex around one map. It is held for well under a microsecond a check and makes a check
//! atomic across all its buckets, which no sharding by user could.
//!
//! A group of buckets is forgotten once all of them are full again, as a bucket that was never
//! seen is full. Groups queue for that by the earliest time at which they could be full; each
//! check looks at the first few in the queue, so the work is spread and memory follows the users
//! that are active, never beyond a fixed number of groups.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use smallvec::SmallVec;

use crate::{
    Answer, Bucket, BucketStore, Clock, Group, Limit, Plan, ServerId, StoreError, SystemClock,
    Timestamp, decision,
};

/// A [`BucketStore`] in memory. Clones are the same store.
#[derive(Clone)]
pub struct MemoryStore<C = SystemClock> {
    clock: C,
    groups: Arc<Mutex<Groups>>,
}

impl MemoryStore {
    /// An empty store that keeps at most `max_groups` groups of buckets: one for each active user
    /// of a server, and one for each server. A check that would need one more is an error.
    pub fn new(max_groups: usize) -> Self {
        Self::with_clock(max_groups, SystemClock::new())
    }
}

impl<C: Clock> MemoryStore<C> {
    /// As [`MemoryStore::new`], on `clock`.
    pub fn with_clock(max_groups: usize, clock: C) -> Self {
        let groups = Groups {
            max: max_groups,
            latest: Timestamp::default(),
            buckets: HashMap::new(),
            idle_queue: BinaryHeap::new(),
        };
        Self {
            clock,
            groups: Arc::new(Mutex::new(groups)),
        }
    }

    /// Groups of buckets in memory now.
    pub fn group_count(&self) -> usize {
        self.lock().buckets.len()
    }

    /// No update is ever left half done by a panic, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> fmt::Debug for MemoryStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl<C: Clock> BucketStore for MemoryStore<C> {
    async fn take(&self, plans: Vec<Plan>) -> Result<Vec<Answer>, StoreError> {
        let mut groups = self.lock();
        // Read under the lock: checks are decided in the order of their times.
        let now = groups.observe(self.clock.now());
        groups.forget_idle(IDLE_PER_BATCH);
        plans.iter().map(|plan| groups.take(plan, now)).collect()
    }

    async fn peek(&self, plan: Plan) -> Result<Answer, StoreError> {
        let mut groups = self.lock();
        let now = groups.observe(self.clock.now());
        Ok(decision::peek(&plan, &groups.load(&plan), now))
    }

    async fn reset(&self, plan: Plan) -> Result<(), StoreError> {
        self.lock().reset(&plan);
        Ok(())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// How many groups a batch of checks looks at to forget them: more than it can add.
const IDLE_PER_BATCH: usize = 8;

type GroupKey = (ServerId, Group);
type Stored = SmallVec<[(Arc<Limit>, Bucket); 1]>;

struct Groups {
    max: usize,
    /// The latest time seen. Buckets stand at this time, not before, even when the clock steps
    /// back: a group that was forgotten as full must not be refilled for a span a second time.
    latest: Timestamp,
    buckets: HashMap<GroupKey, Stored>,
    /// Each group once, by a time before which it cannot be full.
    idle_queue: BinaryHeap<Reverse<IdleAt>>,
}

impl Groups {
    fn observe(&mut self, now: Timestamp) -> Timestamp {
        self.latest = self.latest.max(now);
        now
    }

    fn take(&mut self, plan: &Plan, now: Timestamp) -> Result<Answer, StoreError> {
        let mut buckets = self.load(plan);
        let answer = decision::take(plan, &mut buckets, now);
        if answer.decision.is_allowed() {
            self.make_room(plan)?;
            self.save(plan, &buckets);
        }
        Ok(answer)
    }

    /// The buckets of `plan`; those never seen are full.
    fn load(&self, plan: &Plan) -> SmallVec<[Bucket; 4]> {
        let mut loaded = SmallVec::new();
        for planned in plan.groups() {
            let key = (plan.server().clone(), planned.group.clone());
            let stored = self.buckets.get(&key).map_or(&[][..], |stored| stored);
            loaded.extend(planned.limits.iter().map(|limit| {
                let bucket = stored.iter().find(|(of, _)| of.field() == limit.field());
                bucket.map_or_else(
                    || Bucket::full(limit.quota(), self.latest),
                    |(_, bucket)| bucket.at(limit.quota(), self.latest),
                )
            }));
        }
        loaded
    }

    fn save(&mut self, plan: &Plan, buckets: &[Bucket]) {
        let mut buckets = buckets.iter();
        for planned in plan.groups() {
            let key = (plan.server().clone(), planned.group.clone());
            let first_time = !self.buckets.contains_key(&key);
            let stored = self.buckets.entry(key.clone()).or_default();
            for (limit, bucket) in planned.limits.iter().zip(&mut buckets) {
                match stored
                    .iter_mut()
                    .find(|(of, _)| of.field() == limit.field())
                {
                    Some((_, stored)) => *stored = *bucket,
                    None => stored.push((Arc::clone(limit), *bucket)),
                }
            }
            if first_time {
                let time = full_at(stored, self.latest);
                self.idle_queue.push(Reverse(IdleAt { time, key }));
            }
        }
    }

    /// Makes sure that the groups of `plan` can be kept.
    fn make_room(&mut self, plan: &Plan) -> Result<(), StoreError> {
        let is_new = |group: &Group| {
            let key = (plan.server().clone(), group.clone());
            !self.buckets.contains_key(&key)
        };
        let new = plan.groups().iter().filter(|g| is_new(&g.group)).count();
        if self.buckets.len() + new > self.max {
            self.forget_idle(usize::MAX);
        }
        if self.buckets.len() + new > self.max {
            return Err(StoreError::Full { max: self.max });
        }
        Ok(())
    }

    /// Forgets groups that are full again, looking at no more than `at_most` groups.
    fn forget_idle(&mut self, at_most: usize) {
        let now = self.latest;
        for _ in 0..at_most {
            let due = self.idle_queue.peek();
            if due.is_none_or(|Reverse(due)| due.time > now) {
                return;
            }
            let Some(Reverse(IdleAt { key, .. })) = self.idle_queue.pop() else {
                return;
            };
            let stored = self.buckets.get(&key).map_or(&[][..], |stored| stored);
            let time = full_at(stored, now);
            if time > now {
                self.idle_queue.push(Reverse(IdleAt { time, key }));
            } else {
                self.buckets.remove(&key);
            }
        }
    }

    fn reset(&mut self, plan: &Plan) {
        for planned in plan.groups() {
            let key = (plan.server().clone(), planned.group.clone());
            if let Some(stored) = self.buckets.get_mut(&key) {
                // The group itself stays until its turn in the queue, where it counts as full.
                let meant = |of: &Limit| planned.limits.iter().any(|l| l.field() == of.field());
                stored.retain(|(of, _)| !meant(of));
            }
        }
    }
}

/// When all of `buckets` will be full, if nobody takes from them.
fn full_at(buckets: &[(Arc<Limit>, Bucket)], now: Timestamp) -> Timestamp {
    let full_after = buckets
        .iter()
        .map(|(_, bucket)| bucket.at(bucket.quota(), now).full_after(now));
    now + full_after.max().unwrap_or_default()
}

/// A place in the queue of groups to forget.
struct IdleAt {
    time: Timestamp,
    key: GroupKey,
}

impl Ord for IdleAt {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.time.cmp(&other.time)
    }
}

impl PartialOrd for IdleAt {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for IdleAt {
    fn eq(&self, other: &Self) -> bool {
        self.time == other.time
    }
}

impl Eq for IdleAt {}

#[cfg(test)]
mod tests;
