//! The indexes of the tools that callers see.
//!
//! An index is built when a list of tools is searched for the first time, and kept: users with the
//! same tools share it, and users with others do not replace it. All of that, and the search itself, is
//! work for threads that may block; how much of it there is at a time is bounded, for all and for one
//! caller.

use std::{
    hash::{BuildHasher as _, Hasher, RandomState},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rmcp::model::Tool;
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};
use toolgate_limit::Identity;

use super::{search::Index, tokens::TokenMetrics};
use crate::{
    VmcpError,
    core::{Full, Slots},
};

/// Lists whose indexes are kept: those that were searched last.
const MOST_KEPT: usize = 8;

/// Searches that run or wait.
const MOST: usize = 64;

/// Searches of one caller among them.
const MOST_OF_ONE: usize = 16;

/// Searches that run: each takes a core.
const MOST_RUNNING: usize = 2;

/// How long a search may take, its wait and the building of an index included.
const WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Indexes {
    kept: Arc<Kept>,
    slots: Arc<Slots>,
    running: Arc<Semaphore>,
}

/// What a search has found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) tools: Vec<Tool>,
    pub(super) metrics: TokenMetrics,
}

impl Indexes {
    pub(super) fn new() -> Self {
        Self {
            kept: Arc::default(),
            slots: Slots::new(MOST, MOST_OF_ONE),
            running: Arc::new(Semaphore::new(MOST_RUNNING)),
        }
    }

    /// At most `most` of `tools`, those that fit `text` best, for `identity`.
    pub(super) async fn search(
        &self,
        identity: &Identity,
        tools: Vec<Tool>,
        text: String,
        most: usize,
    ) -> Result<Found, VmcpError> {
        let slot = self.slots.take(identity.into());
        let slot = slot.map_err(|full| VmcpError::Search(refused(full)))?;
        let kept = Arc::clone(&self.kept);
        let found = async {
            let Ok(running) = Arc::clone(&self.running).acquire_owned().await else {
                return Err(VmcpError::Search("it has stopped".to_owned()));
            };
            // It goes on if its caller has gone, and holds its places until it has ended.
            let search = spawn_blocking(move || {
                let (_slot, _running) = (slot, running);
                kept.index_of(tools)?.search(&text, most)
            });
            search.await.unwrap_or_else(|error| {
                let reason = error.to_string();
                Err(VmcpError::Search(reason))
            })
        };
        let late = |_| Err(VmcpError::Search(format!("not done within {WITHIN:?}")));
        timeout(WITHIN, found).await.unwrap_or_else(late)
    }
}

fn refused(full: Full) -> String {
    match full {
        Full::OfAll(most) => format!("not begun, as {most} searches are under way"),
        Full::OfOne(most) => format!("not begun, as {most} searches of this caller are under way"),
    }
}

/// The indexes of a few lists.
#[derive(Debug, Default)]
struct Kept {
    /// By the hash of their lists, the one that was searched last at the end.
    indexes: Mutex<Vec<(u64, Place)>>,
    hashes: RandomState,
}

/// Held while the index is built: who wants the same one waits for it.
type Place = Arc<Mutex<Option<Arc<Index>>>>;

impl Kept {
    fn index_of(&self, tools: Vec<Tool>) -> Result<Arc<Index>, VmcpError> {
        let place = self.place(self.hash(&tools));
        let mut place = lock(&place);
        match &*place {
            // Two lists may have one hash.
            Some(index) if index.tools() == tools => Ok(Arc::clone(index)),
            _ => {
                let index = Arc::new(Index::of(tools)?);
                *place = Some(Arc::clone(&index));
                Ok(index)
            }
        }
    }

    fn place(&self, hash: u64) -> Place {
        let mut kept = lock(&self.indexes);
        let place = match kept.iter().position(|(of, _)| *of == hash) {
            Some(at) => kept.remove(at).1,
            None => Place::default(),
        };
        if kept.len() == MOST_KEPT {
            kept.remove(0);
        }
        kept.push((hash, Arc::clone(&place)));
        place
    }

    fn hash(&self, tools: &[Tool]) -> u64 {
        struct Hash<H>(H);
        impl<H: Hasher> io::Write for Hash<H> {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.write(bytes);
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut hash = Hash(self.hashes.build_hasher());
        // What came as JSON can be written as JSON.
        let _ = serde_json::to_writer(&mut hash, tools);
        hash.0.finish()
    }
}

/// Each change is made as a whole, so a poisoned lock is as good as any.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn tools(names: &[&str]) -> Vec<Tool> {
        let tool = |name: &&str| Tool::new((*name).to_owned(), "Counts sheep", Arc::default());
        names.iter().map(tool).collect()
    }

    /// Users with different tools took each other's index away: each search built one.
    #[test]
    fn users_with_different_tools_keep_their_indexes_and_those_with_the_same_share_one() {
        let kept = Kept::default();
        let of = |names: &[&str]| kept.index_of(tools(names)).unwrap();
        let (alice, bob) = (of(&["a", "b"]), of(&["a"]));
        for _ in 0..3 {
            assert!(Arc::ptr_eq(&alice, &of(&["a", "b"])));
            assert!(Arc::ptr_eq(&bob, &of(&["a"])));
        }
        assert!(!Arc::ptr_eq(&alice, &bob));
        assert_eq!(of(&["b", "a"]).tools()[0].name, "b");
    }

    #[test]
    fn no_more_indexes_are_kept_than_may_be_and_the_one_not_searched_for_longest_goes() {
        let kept = Kept::default();
        let of = |n: usize| kept.index_of(tools(&[&n.to_string()])).unwrap();
        let first: Vec<_> = (0..MOST_KEPT).map(of).collect();
        assert!(Arc::ptr_eq(&first[0], &of(0)));
        of(MOST_KEPT);
        assert_eq!(lock(&kept.indexes).len(), MOST_KEPT);
        assert!(Arc::ptr_eq(&first[0], &of(0)));
        assert!(Arc::ptr_eq(&first[2], &of(2)));
        assert!(!Arc::ptr_eq(&first[1], &of(1)));
    }

    #[tokio::test]
    async fn one_caller_leaves_searches_to_others_and_a_caller_that_has_gone_leaves_its_own() {
        let indexes = Indexes::new();
        let search = |name: &str| {
            let (indexes, name) = (&indexes, Identity::new(name).unwrap());
            async move {
                let text = "sheep".to_owned();
                indexes.search(&name, tools(&["a"]), text, 1).await
            }
        };
        let running = indexes.running.acquire_many(2).await.unwrap();
        let mut alice: Vec<_> = (0..MOST_OF_ONE)
            .map(|_| Box::pin(search("alice")))
            .collect();
        for search in &mut alice {
            assert!(futures::poll!(search).is_pending());
        }
        let refused = search("alice").await.unwrap_err().to_string();
        let expected = "not begun, as 16 searches of this caller are under way";
        assert!(refused.ends_with(expected), "{refused}");
        let mut bob = Box::pin(search("bob"));
        assert!(futures::poll!(&mut bob).is_pending());
        alice.pop();
        let mut again = Box::pin(search("alice"));
        assert!(futures::poll!(&mut again).is_pending());
        drop((running, alice));
        assert_eq!(bob.await.unwrap().tools.len(), 1);
        assert_eq!(again.await.unwrap().tools[0].name, "a");
    }

    /// Nothing else ran on the runtime's thread meanwhile.
    #[tokio::test]
    async fn others_are_served_while_an_index_is_built() {
        let names: Vec<_> = (0..2_000).map(|n| format!("tool_{n}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let indexes = Indexes::new();
        let alice = Identity::new("alice").unwrap();
        let search = indexes.search(&alice, tools(&names), "sheep".to_owned(), 3);
        let mut turns = 0;
        let others = async {
            loop {
                turns += 1;
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            found = search => assert_eq!(found.unwrap().tools.len(), 3),
            () = others => {}
        }
        assert!(turns > 10, "{turns}");
    }
}
