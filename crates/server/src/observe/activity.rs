//! What a replica tells of itself at any time: what it has decided, and which buckets are hot.
//!
//! ```text
//! Observers of a worker -> Heat: samples -> Sketch of the buckets that it touches
//! GetActivity -> Activity: adds up what the workers have
//! ```

mod heat;
mod hot_buckets;
mod replica;
mod sampling;
mod sketch;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use toolgate_limit::{Clock, Policies, Timestamp};

use super::{Counters, Observer};
use heat::Heat;
pub(crate) use hot_buckets::HotBucket;
use hot_buckets::HotBuckets;
pub(crate) use replica::Replica;

/// What all workers of this replica see. Clones show the same.
#[derive(Clone)]
pub(crate) struct Activity(Arc<Shared>);

struct Shared {
    replica: Replica,
    policies: Arc<dyn Policies>,
    /// None: nothing is counted.
    counters: Option<Counters>,
    clock: Arc<dyn Clock>,
    /// One of each worker.
    heats: Mutex<Vec<Arc<Heat>>>,
}

impl Activity {
    /// Of the replica that starts now, with the limits of `policies`. Without `counters` nothing is
    /// counted.
    pub(crate) fn new(
        policies: Arc<dyn Policies>,
        counters: Option<Counters>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self(Arc::new(Shared {
            replica: Replica::new(clock.now()),
            policies,
            counters,
            clock,
            heats: Mutex::default(),
        }))
    }

    /// The observer of one worker more, unless nothing is counted.
    pub(super) fn of_worker(&self) -> Option<Arc<dyn Observer>> {
        let shared = &self.0;
        shared.counters.as_ref()?;
        let heat = Heat::new(Arc::clone(&shared.policies), Arc::clone(&shared.clock));
        let heat = Arc::new(heat);
        self.heats().push(Arc::clone(&heat));
        Some(heat)
    }

    /// What was decided, as the metrics count it; none if nothing is counted.
    pub(crate) fn counters(&self) -> Option<&Counters> {
        self.0.counters.as_ref()
    }

    /// The buckets that are hot now.
    pub(crate) fn hot_buckets(&self) -> HotBuckets {
        let mut all = HotBuckets::default();
        for heat in self.heats().iter() {
            heat.add_to(&mut all);
        }
        all
    }

    /// This process.
    pub(crate) fn replica(&self) -> &Replica {
        &self.0.replica
    }

    /// The time now, by the replica's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// A list that grows while workers start, and so is never half changed.
    fn heats(&self) -> MutexGuard<'_, Vec<Arc<Heat>>> {
        self.0.heats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activity")
            .field("replica", &self.0.replica)
            .finish_non_exhaustive()
    }
}
