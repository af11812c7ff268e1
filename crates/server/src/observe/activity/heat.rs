//! The buckets that the checks of one worker touch most.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use toolgate_limit::{Answer, Check, Clock, Group, Identity, Limit, Plan, Policies, Timestamp};

use super::{
    hot_buckets::{HotBuckets, Key, is_same},
    sampling::Sampling,
    sketch::Sketch,
};
use crate::observe::{Decided, Observer, halves::Halves};

/// The most buckets of single users that are kept for a worker. A check touches at most two of
/// them, so one that 1 in 128 checks touches is never missing. With the longest names that callers
/// may have they hold 2.4 MB, with ordinary ones 0.1 MB.
const USERS: usize = 512;

/// The same for buckets that all callers of a server share.
const SHARED: usize = 256;

/// What was recorded so long ago counts for `1/e` of what is recorded now.
const MEMORY: Duration = Duration::from_secs(10);

/// What was recorded is made older at most so often, so that rates are at most 1 % too high.
const STEP: Duration = Duration::from_millis(100);

/// Samples the checks of one worker.
///
/// A check that is passed over costs the load and the store of an atomic; one that is looked at, a
/// plan and up to four entries of a [`Sketch`], about 1 us. Of a busy worker that is 30 ns a check,
/// or 0.3 % of what a check costs.
pub(crate) struct Heat {
    /// Checks to pass over before the next sample. Only the worker's thread touches it, so reading
    /// it and writing it need not be one step.
    pass: AtomicUsize,
    policies: Arc<dyn Policies>,
    clock: Arc<dyn Clock>,
    /// Of this thread alone.
    sampling: Mutex<Sampling>,
    kept: Halves<Kept>,
}

#[derive(Debug)]
struct Kept {
    shared: Sketch<Key, ()>,
    users: Sketch<Key, Identity>,
    began: Timestamp,
    aged: Timestamp,
}

impl Heat {
    /// Sees the limits of `policies`.
    pub(crate) fn new(policies: Arc<dyn Policies>, clock: Arc<dyn Clock>) -> Self {
        let now = clock.now();
        Self {
            pass: AtomicUsize::new(0),
            policies,
            clock,
            sampling: Mutex::new(Sampling::new(fastrand::Rng::new())),
            kept: Halves::new(|| Kept {
                shared: Sketch::new(SHARED),
                users: Sketch::new(USERS),
                began: now,
                aged: now,
            }),
        }
    }

    /// Adds the buckets that it knows of now to `all`.
    pub(crate) fn add_to(&self, all: &mut HotBuckets) {
        let now = self.clock.now();
        self.kept.read(|kept| kept.add_to(all, now));
    }

    fn sample(&self, check: &Check, answer: &Answer) {
        let now = self.clock.now();
        // A panic leaves at worst a sample half recorded, so a poisoned lock is as good as any.
        let sampling = self.sampling.lock();
        let (stands_for, pass) = sampling.unwrap_or_else(PoisonError::into_inner).take(now);
        self.pass.store(pass, Ordering::Relaxed);
        let snapshot = self.policies.snapshot();
        let Some(policy) = snapshot.policy(&check.server) else {
            return;
        };
        let weight = f64::from(u32::try_from(stands_for).unwrap_or(u32::MAX));
        let plan = policy.plan(check);
        self.kept
            .write(|kept| kept.record(check, answer, &plan, weight, now));
    }
}

impl Observer for Heat {
    fn decided(&self, decided: &Decided<'_>) {
        let mut place = 0;
        loop {
            let left = decided.checks.len() - place;
            let pass = self.pass.load(Ordering::Relaxed);
            if pass >= left {
                self.pass.store(pass - left, Ordering::Relaxed);
                return;
            }
            place += pass;
            if let (Some(check), Some(Ok(answer))) =
                (decided.checks.get(place), decided.answers.get(place))
            {
                self.sample(check, answer);
            } else {
                // Not decided: the next one takes its place.
                self.pass.store(0, Ordering::Relaxed);
            }
            place += 1;
        }
    }
}

impl fmt::Debug for Heat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heat")
            .field("pass", &self.pass)
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}

impl Kept {
    fn add_to(&mut self, all: &mut HotBuckets, now: Timestamp) {
        self.age(now);
        // What a steady rate of one a second adds up to, as long as this has been going on.
        let memory = MEMORY.as_secs_f64();
        let age = now.since(self.began).max(STEP).as_secs_f64();
        let of_one = memory * -(-age / memory).exp_m1();
        for (key, entry) in self.shared.entries() {
            all.add(key, entry, of_one, || None);
        }
        for (key, entry) in self.users.entries() {
            all.add(key, entry, of_one, || Some(entry.value.clone()));
        }
        all.add_error(self.shared.error().max(self.users.error()) / of_one);
    }

    fn record(&mut self, check: &Check, answer: &Answer, plan: &Plan, weight: f64, now: Timestamp) {
        self.age(now);
        let refusing = refusing(answer);
        for group in plan.groups() {
            for limit in &group.limits {
                let denied = refusing.is_some_and(|refusing| is_same(refusing, limit));
                let limit = Arc::clone(limit);
                match &group.group {
                    Group::Global => {
                        let key = Key { limit, user: None };
                        self.shared.record(key, weight, denied, || ());
                    }
                    Group::User(user) => {
                        let user = Some(user.clone());
                        let identity = || without_groups(&check.identity);
                        (self.users).record(Key { limit, user }, weight, denied, identity);
                    }
                }
            }
        }
    }

    fn age(&mut self, now: Timestamp) {
        let span = now.since(self.aged);
        if span < STEP {
            return;
        }
        let factor = (-span.as_secs_f64() / MEMORY.as_secs_f64()).exp();
        self.shared.age(factor);
        self.users.age(factor);
        self.aged = now;
    }
}

/// What a policy has refused, in shadow mode too.
fn refusing(answer: &Answer) -> Option<&Limit> {
    answer.denial().map(|denial| &*denial.limit)
}

/// The user as far as buckets tell users apart.
fn without_groups(identity: &Identity) -> Identity {
    let Some(subject) = identity.subject() else {
        return Identity::anonymous();
    };
    // Both parts are those of an identity, and so as long as they may be.
    Identity::new(subject)
        .and_then(|user| user.of_issuer(identity.issuer().unwrap_or_default()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
