//! Buckets in this process's memory: for one replica, for development and for tests.
//!
//! One mutex around one map. It is held for about half a microsecond a check and makes a check atomic
//! across all its buckets, which no sharding by user could.
//!
//! A group of buckets is forgotten once all of them are full again, as a bucket that was never
//! seen is full. Groups queue for that by the earliest time at which they could be full; each
//! check looks at the first few in the queue, so the work is spread. There are never more groups
//! than a fixed number.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use foldhash::fast::RandomState;
use slab::Slab;
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
        let groups = Groups::new(max_groups, Timestamp::default());
        Self {
            clock,
            groups: Arc::new(Mutex::new(groups)),
        }
    }

    /// Groups of buckets in memory now.
    pub fn group_count(&self) -> usize {
        self.lock().stored.len()
    }

    /// Forgets all buckets, which are full then, and gives their memory back.
    pub fn clear(&self) {
        let forgotten = {
            let mut groups = self.lock();
            let empty = Groups::new(groups.max, groups.latest);
            mem::replace(&mut *groups, empty)
        };
        // A million groups take a while to free: not under the lock.
        drop(forgotten);
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
    async fn take(&self, plans: Vec<Plan>) -> Vec<Result<Answer, StoreError>> {
        let mut groups = self.lock();
        // Read under the lock: checks are decided in the order of their times.
        let now = groups.observe(self.clock.now());
        let mut decide = |plan| {
            groups.forget_idle(IDLE_PER_CHECK);
            groups.take(plan, now)
        };
        plans.iter().map(&mut decide).collect()
    }

    async fn peek(&self, plan: Plan) -> Result<Answer, StoreError> {
        let mut groups = self.lock();
        let now = groups.observe(self.clock.now());
        let loaded = groups.load(&plan, now);
        Ok(decision::peek(&plan, &loaded.buckets, now))
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

/// A group is not looked at again sooner: all of its buckets are, which may be many.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A clock that has stepped back by more is believed: otherwise nothing would be forgotten until it
/// has come to its old time again. As long as a key in Redis outlives its buckets.
const LONGEST_STEP_BACK: Duration = Duration::from_secs(1);

type GroupKey = (ServerId, Group);

struct Groups {
    max: usize,
    /// The latest time seen, at most [`LONGEST_STEP_BACK`] ahead of the clock. A bucket that is not
    /// here is full as of this time: it may have been forgotten as full just now, and no span may
    /// refill it a second time.
    latest: Timestamp,
    place_of: HashMap<GroupKey, usize, RandomState>,
    stored: Slab<Stored>,
    /// Groups by a time before which they cannot be full. Of those times that one group has here,
    /// the one counts that the group itself names.
    idle_queue: BinaryHeap<Reverse<(Timestamp, usize)>>,
}

/// One group of buckets, and its time in the queue.
struct Stored {
    key: GroupKey,
    /// By the hash of the field, and those of equal hash by field.
    buckets: SmallVec<[Kept; 1]>,
    queued_for: Timestamp,
}

/// One bucket.
struct Kept {
    /// Beside the bucket, so that a search looks at nothing else.
    field_hash: u64,
    limit: Arc<Limit>,
    bucket: Bucket,
}

/// The buckets of a plan, as they are before its check.
struct Loaded {
    /// Where each of the plan's groups lies.
    places: SmallVec<[Option<usize>; 2]>,
    buckets: SmallVec<[Bucket; 4]>,
    /// Whether any was kept under another quota, or with a time too far ahead: it is kept anew even
    /// if it pays nothing, because from now on it fills at another rate or from another time.
    must_keep: bool,
}

impl Groups {
    fn new(max: usize, latest: Timestamp) -> Self {
        Self {
            max,
            latest,
            place_of: HashMap::default(),
            stored: Slab::new(),
            idle_queue: BinaryHeap::new(),
        }
    }

    fn observe(&mut self, now: Timestamp) -> Timestamp {
        if now + LONGEST_STEP_BACK < self.latest {
            self.latest = now;
        }
        self.latest = self.latest.max(now);
        now
    }

    fn take(&mut self, plan: &Plan, now: Timestamp) -> Result<Answer, StoreError> {
        let mut loaded = self.load(plan, now);
        let answer = decision::take(plan, &mut loaded.buckets, now);
        let is_allowed = answer.decision.is_allowed();
        // A bucket that is not here and pays nothing is full, and takes no room.
        if is_allowed && loaded.places.contains(&None) {
            loaded.places = self.make_room(plan)?;
        }
        if is_allowed || loaded.must_keep {
            self.save(plan, &loaded);
        }
        Ok(answer)
    }

    /// The buckets of `plan` at `now`. Those that are not here are full.
    fn load(&self, plan: &Plan, now: Timestamp) -> Loaded {
        let mut loaded = Loaded {
            places: self.places(plan),
            buckets: SmallVec::new(),
            must_keep: false,
        };
        for (planned, place) in plan.groups().iter().zip(&loaded.places) {
            let stored = place.and_then(|place| self.stored.get(place));
            for limit in &planned.limits {
                let quota = limit.quota();
                let kept = stored.and_then(|stored| stored.bucket(limit));
                let bucket = kept.unwrap_or(Bucket::full(quota, self.latest));
                let at_now = bucket.at(quota, now);
                loaded.must_keep |=
                    kept.is_some() && (bucket.quota() != quota || at_now.is_rewound(&bucket));
                loaded.buckets.push(at_now);
            }
        }
        loaded
    }

    fn places(&self, plan: &Plan) -> SmallVec<[Option<usize>; 2]> {
        let place = |planned: &PlannedGroup| self.place_of.get(&key(plan, planned)).copied();
        plan.groups().iter().map(place).collect()
    }

    /// Keeps the groups of `plan`, which then have places.
    fn make_room(&mut self, plan: &Plan) -> Result<SmallVec<[Option<usize>; 2]>, StoreError> {
        let new = |places: &[Option<usize>]| places.iter().filter(|place| place.is_none()).count();
        if self.stored.len() + new(&self.places(plan)) > self.max {
            self.forget_idle(IDLE_FOR_ROOM);
        }
        let mut places = self.places(plan);
        if self.stored.len() + new(&places) > self.max {
            return Err(StoreError::Full { max: self.max });
        }
        for (planned, place) in plan.groups().iter().zip(&mut places) {
            place.get_or_insert_with(|| self.stored.insert(Stored::new(key(plan, planned))));
            if let Some(place) = place {
                self.place_of.insert(key(plan, planned), *place);
            }
        }
        Ok(places)
    }

    fn save(&mut self, plan: &Plan, loaded: &Loaded) {
        let mut buckets = loaded.buckets.iter();
        for (planned, place) in plan.groups().iter().zip(&loaded.places) {
            let of_group = buckets.by_ref().take(planned.limits.len());
            let stored = place.and_then(|place| Some((place, self.stored.get_mut(place)?)));
            let Some((place, stored)) = stored else {
                of_group.for_each(drop);
                continue;
            };
            for (limit, bucket) in planned.limits.iter().zip(of_group) {
                stored.keep(limit, *bucket);
            }
            // Whoever takes makes it later, so a time in the queue still holds.
            if stored.queued_for == Timestamp::MAX || loaded.must_keep {
                stored.queue(place, self.latest, &mut self.idle_queue);
            }
        }
    }

    /// Forgets groups that are full again, looking at no more than `at_most` places in the queue.
    fn forget_idle(&mut self, at_most: usize) {
        for _ in 0..at_most {
            let due = self.idle_queue.peek();
            let Some(&Reverse((time, place))) = due.filter(|due| due.0.0 <= self.latest) else {
                return;
            };
            self.idle_queue.pop();
            let Some(stored) = self.stored.get_mut(place) else {
                continue;
            };
            if stored.queued_for != time {
                continue; // another time in the queue counts, or another group has the place
            }
            if stored.full_at(self.latest) <= self.latest {
                self.forget(place);
            } else {
                stored.queued_for = Timestamp::MAX;
                stored.queue(place, self.latest, &mut self.idle_queue);
            }
        }
    }

    fn forget(&mut self, place: usize) {
        let forgotten = self.stored.remove(place);
        self.place_of.remove(&forgotten.key);
    }

    fn reset(&mut self, plan: &Plan) {
        for (planned, place) in plan.groups().iter().zip(self.places(plan)) {
            let stored = place.and_then(|place| Some((place, self.stored.get_mut(place)?)));
            let Some((place, stored)) = stored else {
                continue;
            };
            let meant = |of: &Limit| planned.limits.iter().any(|l| l.field() == of.field());
            stored.buckets.retain(|kept| !meant(&kept.limit));
            if stored.buckets.is_empty() {
                self.forget(place);
            } else {
                stored.queue(place, self.latest, &mut self.idle_queue);
            }
        }
    }
}

impl Stored {
    fn new(key: GroupKey) -> Self {
        Self {
            key,
            buckets: SmallVec::new(),
            queued_for: Timestamp::MAX,
        }
    }

    fn bucket(&self, limit: &Limit) -> Option<Bucket> {
        let found = self.find(limit).ok()?;
        Some(self.buckets[found].bucket)
    }

    /// Where the bucket of `limit` is, or should be.
    fn find(&self, limit: &Limit) -> Result<usize, usize> {
        self.buckets.binary_search_by(|kept| {
            let by_hash = kept.field_hash.cmp(&limit.field_hash());
            by_hash.then_with(|| kept.limit.field().cmp(limit.field()))
        })
    }

    fn keep(&mut self, limit: &Arc<Limit>, bucket: Bucket) {
        match self.find(limit) {
            Ok(found) => self.buckets[found].bucket = bucket,
            Err(place) => {
                let kept = Kept {
                    field_hash: limit.field_hash(),
                    limit: Arc::clone(limit),
                    bucket,
                };
                self.buckets.insert(place, kept);
            }
        }
    }

    /// Takes a place in the queue if the group may be full before the time that it has there.
    fn queue(
        &mut self,
        place: usize,
        now: Timestamp,
        queue: &mut BinaryHeap<Reverse<(Timestamp, usize)>>,
    ) {
        let time = self.full_at(now).max(now + LOOK_INTERVAL);
        if time < self.queued_for {
            self.queued_for = time;
            queue.push(Reverse((time, place)));
        }
    }

    /// When all buckets will be full, if nobody takes from them.
    fn full_at(&self, now: Timestamp) -> Timestamp {
        let full_after = self
            .buckets
            .iter()
            .map(|kept| kept.bucket.at(kept.bucket.quota(), now).full_after(now));
        now + full_after.max().unwrap_or_default()
    }
}

fn key(plan: &Plan, planned: &PlannedGroup) -> GroupKey {
    (plan.server().clone(), planned.group.clone())
}

#[cfg(test)]
mod tests;
