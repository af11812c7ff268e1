//! The buckets of one replica, for when the store does not decide.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use toolgate_limit::MemoryStore;

/// Buckets in memory, and whether any was asked of late. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct LocalBuckets {
    pub(super) store: MemoryStore,
    used: Arc<AtomicBool>,
}

impl LocalBuckets {
    /// None yet, and room for `max_groups`: active users, and one group for each server.
    pub(crate) fn new(max_groups: usize) -> Self {
        Self {
            store: MemoryStore::new(max_groups),
            used: Arc::default(),
        }
    }

    pub(super) fn note_use(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    /// Whether any was asked since this was last called.
    pub(crate) fn take_use(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    /// Forgets all, and says how many groups there were.
    pub(crate) fn drop_all(&self) -> usize {
        let groups = self.store.group_count();
        self.store.clear();
        groups
    }
}
