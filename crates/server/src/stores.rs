//! The store, as each worker has it, and what stands in for it.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::join_all;
use toolgate_limit::{BucketStore, MemoryStore, Policies, StoreError, StoreLimiter};
use toolgate_redis::{InvalidUrl, RedisStore};
use toolgate_tasks::Tasks;

use crate::{
    Config, OnOutage, StoreConfig,
    observe::{Metrics, StoreErrors},
    outage::{Breaker, LocalBuckets, ReplicaLimiter},
};

/// The configured store, and the replica's own buckets for when it does not decide.
#[derive(Clone, Debug)]
pub(crate) struct Stores {
    store: Store,
    breaker: Arc<Breaker>,
    local: Option<LocalBuckets>,
    /// One of each worker, beside the first.
    of_workers: Arc<Mutex<Vec<Arc<dyn BucketStore>>>>,
    errors: StoreErrors,
}

#[derive(Clone, Debug)]
enum Store {
    Memory(MemoryStore),
    Redis(Arc<RedisStore>),
}

impl Stores {
    /// Opens it, in `tasks` on the current runtime. What it does is counted in `metrics`, if there
    /// are any.
    pub(crate) fn open(
        config: &Config,
        metrics: Option<&mut Metrics>,
        tasks: &Tasks,
    ) -> Result<Self, InvalidUrl> {
        let counters = metrics.as_ref().map(|metrics| metrics.counters());
        let errors = counters.map(|counters| counters.store_errors().clone());
        let (store, local) = match &config.store {
            StoreConfig::Memory { max_users } => {
                (Store::Memory(MemoryStore::new(*max_users)), None)
            }
            StoreConfig::Redis(redis) => {
                let store = Store::Redis(Arc::new(RedisStore::open_with(
                    redis,
                    metrics.map(Metrics::redis),
                    tasks.clone(),
                )?));
                let local = match config.outage {
                    OnOutage::Local => Some(LocalBuckets::new(config.memory_max_users)),
                    OnOutage::Unavailable => None,
                };
                (store, local)
            }
        };
        Ok(Self {
            store,
            breaker: Arc::new(Breaker::new()),
            local,
            of_workers: Arc::default(),
            errors: errors.unwrap_or_default(),
        })
    }

    /// A limiter for the current runtime.
    pub(crate) fn limiter(&self, policies: &Arc<dyn Policies>) -> ReplicaLimiter {
        let store: Arc<dyn BucketStore> = match &self.store {
            Store::Memory(store) => Arc::new(store.clone()),
            Store::Redis(store) => Arc::new(store.on_this_runtime()),
        };
        let of_workers = self.of_workers.lock();
        let mut of_workers = of_workers.unwrap_or_else(PoisonError::into_inner);
        of_workers.push(Arc::clone(&store));
        let shared = StoreLimiter::new(Arc::clone(policies), store);
        let breaker = Arc::clone(&self.breaker);
        let local = self.local.clone();
        ReplicaLimiter::new(shared, breaker, Arc::clone(policies), local)
            .counting(self.errors.clone())
    }

    /// Whether the store would decide now; [`StoreError::Partial`] if only a part of it would. After
    /// an outage the way there of each worker must be open: one that is still down would fail the
    /// first checks.
    pub(crate) async fn probe(&self) -> Result<(), StoreError> {
        let found = match &self.store {
            Store::Memory(store) => store.ping().await,
            Store::Redis(store) => store.ping().await,
        };
        if !self.breaker.is_open() || found.as_ref().is_err_and(StoreError::is_outage) {
            return found;
        }
        let of_workers = self.of_workers.lock();
        let of_workers = of_workers.unwrap_or_else(PoisonError::into_inner).clone();
        let pings = of_workers.iter().map(|store| store.ping());
        let failed = join_all(pings).await.into_iter().filter_map(Result::err);
        match failed.max_by_key(StoreError::is_outage) {
            None => found,
            Some(error) => Err(error),
        }
    }

    /// Buckets in memory, and a worker with a store of its own, which is probed in an outage.
    #[cfg(test)]
    pub(crate) fn with_worker(worker: Arc<dyn BucketStore>, local: Option<LocalBuckets>) -> Self {
        Self {
            store: Store::Memory(MemoryStore::new(10)),
            breaker: Arc::new(Breaker::new()),
            local,
            of_workers: Arc::new(Mutex::new(vec![worker])),
            errors: StoreErrors::default(),
        }
    }

    pub(crate) const fn breaker(&self) -> &Arc<Breaker> {
        &self.breaker
    }

    /// What stands in for the store, if something does.
    pub(crate) const fn local(&self) -> Option<&LocalBuckets> {
        self.local.as_ref()
    }
}
