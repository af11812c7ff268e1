//! The snapshot in force, and what came of the last reload.

use std::{collections::HashMap, fmt, sync::Arc};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use toolgate_limit::{Clock, Policies, Policy, ServerId, Snapshot, Timestamp};

use crate::{Diagnostics, Origin};

/// The most servers that one line of the log names.
const MAX_NAMED: usize = 20;

/// Holds the policies in force. Checks read it without a lock; a reload swaps it as a whole.
pub struct Registry {
    current: ArcSwap<Current>,
    /// Its lock makes one writer wait for the other.
    status: watch::Sender<ReloadStatus>,
    clock: Arc<dyn Clock>,
}

/// A snapshot and where its policies came from, swapped together.
#[derive(Debug, Default)]
struct Current {
    snapshot: Arc<Snapshot>,
    origins: HashMap<ServerId, Origin>,
}

/// What came of the reloads so far.
#[derive(Clone, Debug, Default)]
pub struct ReloadStatus {
    /// The generation in force, from 1; 0 before the first.
    pub generation: u64,
    /// Since when it is in force.
    pub loaded_at: Option<Timestamp>,
    /// The last reload, if it failed: the generation in force is then older than the files.
    pub last_failure: Option<ReloadFailure>,
    /// What is wrong with single manifests, of a source whose manifests stand each for itself. That is
    /// their authors' business, and no failure of the reload.
    pub rejected: Arc<Diagnostics>,
    /// Reloads that made a generation, the first one included.
    pub succeeded: u64,
    /// Reloads that failed.
    pub failed: u64,
}

/// A reload that failed.
#[derive(Clone, Debug)]
pub struct ReloadFailure {
    /// When it failed.
    pub at: Timestamp,
    /// Why, with at least one error among them.
    pub diagnostics: Arc<Diagnostics>,
}

impl Registry {
    /// A registry without policies, at generation 0.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            current: ArcSwap::default(),
            status: watch::Sender::default(),
            clock,
        }
    }

    /// Puts `policies` into force in place of all others, as the next generation, which is
    /// returned. Of two policies for one server the later one counts.
    pub fn publish(&self, policies: Vec<(Policy, Origin)>) -> u64 {
        let policies = policies.into_iter();
        let policies = policies
            .map(|(policy, origin)| (Arc::new(policy), origin))
            .collect();
        self.publish_beside(policies, Diagnostics::default())
    }

    /// As [`Registry::publish`], from a source whose manifests stand each for itself: `rejected` says
    /// what is wrong with those that are not among `policies`.
    pub fn publish_beside(
        &self,
        policies: Vec<(Arc<Policy>, Origin)>,
        rejected: Diagnostics,
    ) -> u64 {
        let origin =
            |(policy, origin): &(Arc<Policy>, Origin)| (policy.server().clone(), origin.clone());
        let origins = policies.iter().map(origin).collect();
        let policies = policies.into_iter().map(|(policy, _)| policy);
        let mut generation = 0;
        self.status.send_modify(|status| {
            generation = status.generation + 1;
            let before = self.current.swap(Arc::new(Current {
                snapshot: Arc::new(Snapshot::new(generation, policies)),
                origins,
            }));
            tell_of_lost(&before, &self.current.load());
            *status = ReloadStatus {
                generation,
                loaded_at: Some(self.clock.now()),
                last_failure: None,
                rejected: Arc::new(rejected),
                succeeded: status.succeeded + 1,
                failed: status.failed,
            };
        });
        generation
    }

    /// Records a reload that failed. What is in force stays in force.
    pub fn fail(&self, diagnostics: Diagnostics) {
        let failure = ReloadFailure {
            at: self.clock.now(),
            diagnostics: Arc::new(diagnostics),
        };
        self.status.send_modify(|status| {
            status.last_failure = Some(failure);
            status.failed += 1;
        });
    }

    /// The generation in force. It costs a check hardly anything to ask.
    pub fn generation(&self) -> u64 {
        self.current.load().snapshot.generation()
    }

    /// What came of the reloads so far.
    pub fn status(&self) -> ReloadStatus {
        self.status.borrow().clone()
    }

    /// Tells of every reload to come, failed ones too. The status seen is always the latest.
    pub fn subscribe(&self) -> watch::Receiver<ReloadStatus> {
        self.status.subscribe()
    }

    /// Where the policy in force for `server` was written.
    pub fn origin(&self, server: &ServerId) -> Option<Origin> {
        self.current.load().origins.get(server).cloned()
    }
}

/// Names the servers that nothing limits any more: somebody may not have meant that.
fn tell_of_lost(before: &Current, now: &Current) {
    let is_lost = |server: &&ServerId| !now.origins.contains_key(*server);
    let mut lost: Vec<_> = before.origins.keys().filter(is_lost).collect();
    lost.sort_unstable();
    if lost.is_empty() {
        return;
    }
    let named: Vec<_> = lost.iter().take(MAX_NAMED).map(|it| it.as_str()).collect();
    let servers = named.join(", ");
    let count = lost.len();
    tracing::warn!(
        count,
        servers,
        "servers have lost their limits: no policy names them"
    );
}

impl Policies for Registry {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.load().snapshot)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("current", &self.current)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
