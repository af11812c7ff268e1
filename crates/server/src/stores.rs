//! The store, as each worker has it.

use std::sync::Arc;

use toolgate_limit::{BucketStore, MemoryStore};
use toolgate_redis::{InvalidUrl, RedisStore};

use crate::StoreConfig;

/// The configured store.
#[derive(Clone, Debug)]
pub(crate) enum Stores {
    Memory(MemoryStore),
    Redis(Arc<RedisStore>),
}

impl Stores {
    /// Opens it, in tasks on the current runtime.
    pub(crate) fn open(config: &StoreConfig) -> Result<Self, InvalidUrl> {
        Ok(match config {
            StoreConfig::Memory { max_users } => Self::Memory(MemoryStore::new(*max_users)),
            StoreConfig::Redis(redis) => Self::Redis(Arc::new(RedisStore::open(redis)?)),
        })
    }

    /// The store for the runtime that it was opened on.
    pub(crate) fn first(&self) -> Arc<dyn BucketStore> {
        match self {
            Self::Memory(store) => Arc::new(store.clone()),
            Self::Redis(store) => Arc::clone(store) as _,
        }
    }

    /// The store for the current runtime.
    pub(crate) fn on_this_runtime(&self) -> Arc<dyn BucketStore> {
        match self {
            Self::Memory(store) => Arc::new(store.clone()),
            Self::Redis(store) => Arc::new(store.on_this_runtime()),
        }
    }
}
