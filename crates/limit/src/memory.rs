//! Buckets in this process's memory: for one replica, for development and for tests.
//!
//! One mutex around one map. It is held for about a microsecond a check and makes a check atomic
//! across all its buckets, which no sharding by user could.
//!
//! A group of buckets is forgotten once all of them are full again, as a bucket that was never
//! seen is full. Groups queue for that by the earliest time at which they could be full; each
//! check looks at the first few in the queue, so the work is spread. There are never more groups
//! than a fixed number.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use foldhash::fast::RandomState;
use smallvec::SmallVec;

use crate::{
    Answer, Bucket, BucketStore, Clock, Group, Limit, Plan, PlannedGroup, ServerId, StoreError,
    SystemClock, Timestamp, decision,
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
            stored: HashMap::default(),
            idle_queue: BinaryHeap::new(),
        };
        Self {
            clock,
            groups: Arc::new(Mutex::new(groups)),
        }
    }

    /// Groups of buckets in memory now.
    pub fn group_count(&self) -> usize {
        self.lock().stored.len()
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
    async fn take(&self, plan: Plan) -> Result<Answer, StoreError> {
        let mut groups = self.lock();
        // Read under the lock: checks are decided in the order of their times.
        let now = groups.observe(self.clock.now());
        groups.forget_idle(IDLE_PER_CHECK);
        groups.take(&plan, now)
    }

    async fn peek(&self, plan: Plan) -> Result<Answer, StoreError> {
        let mut groups = self.lock();
        let now = groups.observe(self.clock.now());
        let (buckets, _) = groups.load(&plan);
        Ok(decision::peek(&plan, &buckets, now))
    }

    async fn reset(&self, plan: Plan) -> Result<(), StoreError> {
        self.lock().reset(&plan);
        Ok(())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// How many groups each check looks at to forget them: more than it can add.
const IDLE_PER_CHECK: usize = 8;

/// The same for a check that needs room: more, but not so many that others wait for it.
const IDLE_FOR_ROOM: usize = 256;

type GroupKey = (ServerId, Group);

struct Groups {
    max: usize,
    /// The latest time seen. Buckets stand at this time, not before, even when the clock steps
    /// back: a group that was forgotten as full must not be refilled for a span a second time.
    latest: Timestamp,
    stored: HashMap<GroupKey, Stored, RandomState>,
    /// Groups by a time before which they cannot be full. Of the places that one group has here,
    /// the one counts that the group itself names.
    idle_queue: BinaryHeap<Reverse<IdleAt>>,
}

/// One group of buckets, and its place in the queue.
struct Stored {
    buckets: SmallVec<[(Arc<Limit>, Bucket); 1]>,
    queued_for: Timestamp,
}

impl Groups {
    fn observe(&mut self, now: Timestamp) -> Timestamp {
        self.latest = self.latest.max(now);
        now
    }

    fn take(&mut self, plan: &Plan, now: Timestamp) -> Result<Answer, StoreError> {
        let (mut buckets, quota_changed) = self.load(plan);
        let answer = decision::take(plan, &mut buckets, now);
        // A bucket under a new quota is kept even if it pays nothing: from now on it fills at the
        // new rate.
        if answer.decision.is_allowed() || quota_changed {
            self.make_room(plan)?;
            self.save(plan, &buckets);
        }
        Ok(answer)
    }

    /// The buckets of `plan`, and whether any was kept under another quota. Those never seen are
    /// full.
    fn load(&self, plan: &Plan) -> (SmallVec<[Bucket; 4]>, bool) {
        let mut loaded = SmallVec::new();
        let mut quota_changed = false;
        for planned in plan.groups() {
            let stored = self.stored.get(&key(plan, &planned.group));
            let stored = stored.map_or(&[][..], |stored| &stored.buckets);
            for limit in &planned.limits {
                let kept = stored.iter().find(|(of, _)| of.field() == limit.field());
                loaded.push(match kept {
                    None => Bucket::full(limit.quota(), self.latest),
                    Some((_, bucket)) => {
                        quota_changed |= bucket.quota() != limit.quota();
                        bucket.at(limit.quota(), self.latest)
                    }
                });
            }
        }
        (loaded, quota_changed)
    }

    fn save(&mut self, plan: &Plan, buckets: &[Bucket]) {
        let mut buckets = buckets.iter();
        for planned in plan.groups() {
            let key = key(plan, &planned.group);
            let stored = self.stored.entry(key.clone()).or_insert_with(|| Stored {
                buckets: SmallVec::new(),
                queued_for: Timestamp::MAX,
            });
            for (limit, bucket) in planned.limits.iter().zip(&mut buckets) {
                let mut kept = stored.buckets.iter_mut();
                match kept.find(|(of, _)| of.field() == limit.field()) {
                    Some((_, kept)) => *kept = *bucket,
                    None => stored.buckets.push((Arc::clone(limit), *bucket)),
                }
            }
            stored.queue(key, self.latest, &mut self.idle_queue);
        }
    }

    /// Makes sure that the groups of `plan` can be kept.
    fn make_room(&mut self, plan: &Plan) -> Result<(), StoreError> {
        let is_new =
            |planned: &&PlannedGroup| !self.stored.contains_key(&key(plan, &planned.group));
        let new = plan.groups().iter().filter(is_new).count();
        if self.stored.len() + new > self.max {
            self.forget_idle(IDLE_FOR_ROOM);
        }
        if new > 0 && self.stored.len() + new > self.max {
            return Err(StoreError::Full { max: self.max });
        }
        Ok(())
    }

    /// Forgets groups that are full again, looking at no more than `at_most` places in the queue.
    fn forget_idle(&mut self, at_most: usize) {
        for _ in 0..at_most {
            let due = self.idle_queue.peek();
            if due.is_none_or(|Reverse(due)| due.time > self.latest) {
                return;
            }
            let Some(Reverse(IdleAt { time, key })) = self.idle_queue.pop() else {
                return;
            };
            let Some(stored) = self.stored.get_mut(&key) else {
                continue;
            };
            if stored.queued_for != time {
                continue; // another place in the queue counts
            }
            if stored.full_at(self.latest) <= self.latest {
                self.stored.remove(&key);
            } else {
                stored.queued_for = Timestamp::MAX;
                stored.queue(key, self.latest, &mut self.idle_queue);
            }
        }
    }

    fn reset(&mut self, plan: &Plan) {
        for planned in plan.groups() {
            let key = key(plan, &planned.group);
            if let Some(stored) = self.stored.get_mut(&key) {
                let meant = |of: &Limit| planned.limits.iter().any(|l| l.field() == of.field());
                stored.buckets.retain(|(of, _)| !meant(of));
                stored.queue(key, self.latest, &mut self.idle_queue);
            }
        }
    }
}

impl Stored {
    /// Takes a place in the queue if the group may be full before the place that it has.
    fn queue(&mut self, key: GroupKey, now: Timestamp, queue: &mut BinaryHeap<Reverse<IdleAt>>) {
        let time = self.full_at(now);
        if time < self.queued_for {
            self.queued_for = time;
            queue.push(Reverse(IdleAt { time, key }));
        }
    }

    /// When all buckets will be full, if nobody takes from them.
    fn full_at(&self, now: Timestamp) -> Timestamp {
        let full_after = self
            .buckets
            .iter()
            .map(|(_, bucket)| bucket.at(bucket.quota(), now).full_after(now));
        now + full_after.max().unwrap_or_default()
    }
}

fn key(plan: &Plan, group: &Group) -> GroupKey {
    (plan.server().clone(), group.clone())
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
