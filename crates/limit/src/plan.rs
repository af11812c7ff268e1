//! What one check asks, and the buckets that it touches.

use std::{num::NonZeroU32, sync::Arc};

use smallvec::SmallVec;

use crate::{Group, Identity, Limit, Operation, ServerId, TraceContext};

/// May `identity` run `operation` on `server` now?
#[derive(Clone, Debug)]
pub struct Check {
    /// The server that is called.
    pub server: ServerId,
    /// The caller.
    pub identity: Identity,
    /// What is run; none asks for the server's own limits alone.
    pub operation: Option<Operation>,
    /// Tokens asked for, of every bucket.
    pub cost: NonZeroU32,
    /// The span that asks, if it is traced.
    pub trace: Option<Arc<TraceContext>>,
}

impl Check {
    /// The cost of one ordinary call: one token.
    pub const COST_OF_ONE: NonZeroU32 = NonZeroU32::MIN;
}

/// The buckets that one check touches, group by group, and what it asks of each.
#[derive(Clone, Debug)]
pub struct Plan {
    server: ServerId,
    cost: u32,
    omits_buckets: bool,
    trace: Option<Arc<TraceContext>>,
    groups: SmallVec<[PlannedGroup; 2]>,
}

/// Buckets of one group in a [`Plan`].
#[derive(Clone, Debug)]
pub struct PlannedGroup {
    /// The group in the store.
    pub group: Group,
    /// The limits whose buckets are meant, none twice.
    pub limits: SmallVec<[Arc<Limit>; 2]>,
}

impl Plan {
    /// The most buckets of one check: at each of two scopes one of the server and one of the
    /// operation.
    pub const MAX_BUCKETS_OF_CHECK: usize = 4;

    pub(crate) fn new(server: ServerId, cost: NonZeroU32) -> Self {
        Self {
            server,
            cost: cost.get(),
            omits_buckets: false,
            trace: None,
            groups: SmallVec::new(),
        }
    }

    pub(crate) fn add(&mut self, group: Group, limits: SmallVec<[Arc<Limit>; 2]>) {
        if !limits.is_empty() {
            self.groups.push(PlannedGroup { group, limits });
        }
    }

    /// The server whose buckets these are.
    pub const fn server(&self) -> &ServerId {
        &self.server
    }

    /// Tokens asked of every bucket.
    pub const fn cost(&self) -> u32 {
        self.cost
    }

    /// The same plan, but an answer that allows need not show the buckets.
    #[must_use]
    pub const fn omitting_buckets(mut self, omits: bool) -> Self {
        self.omits_buckets = omits;
        self
    }

    /// Whether an answer that allows need not show the buckets.
    pub const fn omits_buckets(&self) -> bool {
        self.omits_buckets
    }

    /// The same plan, of a check that belongs to `trace`.
    #[must_use]
    pub(crate) fn traced(mut self, trace: Option<Arc<TraceContext>>) -> Self {
        self.trace = trace;
        self
    }

    /// The span that asks, if it is traced.
    pub const fn trace(&self) -> Option<&Arc<TraceContext>> {
        self.trace.as_ref()
    }

    /// The buckets by group.
    pub fn groups(&self) -> &[PlannedGroup] {
        &self.groups
    }

    /// The limits of all buckets, in order.
    pub fn limits(&self) -> impl Iterator<Item = &Arc<Limit>> {
        self.groups.iter().flat_map(|group| &group.limits)
    }

    /// Whether there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}
