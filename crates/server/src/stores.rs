//! The store, as each worker has it.

use std::sync::Arc;

use toolgate_limit::{BucketStore, MemoryStore};
use toolgate_redis::{InvalidUrl, RedisConfig, RedisStore};

use crate::StoreConfig;

/// Opens the configured store, again and again: the same buckets each time.
#[derive(Clone, Debug)]
pub(crate) enum Stores {
    Memory(MemoryStore),
    Redis(RedisConfig),
}

impl Stores {
    /// An error if the store can never be opened.
    pub(crate) fn new(config: &StoreConfig) -> Result<Self, InvalidUrl> {
        Ok(match config {
            StoreConfig::Memory { max_users } => Self::Memory(MemoryStore::new(*max_users)),
            StoreConfig::Redis(redis) => {
                redis.validate()?;
                Self::Redis(redis.clone())
            }
        })
    }

    /// The store for the current runtime, on which what it needs is spawned. One in Redis has a
    /// connection and batches of its own, so that no check crosses threads on its way.
    pub(crate) fn open(&self) -> Result<Arc<dyn BucketStore>, InvalidUrl> {
        Ok(match self {
            Self::Memory(store) => Arc::new(store.clone()),
            Self::Redis(config) => Arc::new(RedisStore::open(config)?),
        })
    }
}
