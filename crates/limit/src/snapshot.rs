//! The limits of all servers at one time.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;

use crate::{Policy, ServerId};

/// One immutable generation of all policies.
#[derive(Debug, Default)]
pub struct Snapshot {
    generation: u64,
    policies: HashMap<ServerId, Arc<Policy>, RandomState>,
}

impl Snapshot {
    /// The snapshot of `policies`; of two for one server the later one counts.
    pub fn new(
        generation: u64,
        policies: impl IntoIterator<Item = impl Into<Arc<Policy>>>,
    ) -> Self {
        let by_server = |policy: Arc<Policy>| (policy.server().clone(), policy);
        Self {
            generation,
            policies: policies
                .into_iter()
                .map(Into::into)
                .map(by_server)
                .collect(),
        }
    }

    /// Counts up with each snapshot of a process, from 1; 0 is the empty one before any was read.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The policy of `server`, if it has one.
    pub fn policy(&self, server: &ServerId) -> Option<&Arc<Policy>> {
        self.policies.get(server)
    }

    /// All policies, by server id.
    pub fn policies(&self) -> Vec<&Arc<Policy>> {
        let mut policies: Vec<_> = self.policies.values().collect();
        policies.sort_unstable_by_key(|policy| policy.server());
        policies
    }
}
