//! The buckets of one replica, for when the store does not decide.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::task::spawn_blocking;
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

    /// Forgets all, and says how many groups there were. To give back the memory of a million takes a
    /// while, so it is done on a thread of its own.
    pub(crate) async fn drop_all(&self) -> usize {
        let groups = self.store.group_count();
        let store = self.store.clone();
        // It goes on if this is dropped, and cannot fail.
        let _ = spawn_blocking(move || store.clear()).await;
        groups
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    /// Other tasks of the runtime waited while the buckets of all users were freed.
    #[tokio::test]
    async fn buckets_are_dropped_elsewhere() {
        let local = LocalBuckets::new(10);
        let mut dropping = Box::pin(local.drop_all());
        assert!(dropping.as_mut().now_or_never().is_none(), "on this thread");
        assert_eq!(dropping.await, 0);
    }
}
