//! The limits of one server.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use crate::{Check, Group, Identity, Limit, Operation, Plan, Quota, Scope, ServerId, UserKey};

/// The quotas of one target: the server as a whole, or one operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Shared by all callers.
    pub global: Option<Quota>,
    /// For each user.
    pub per_user: Option<Quota>,
}

/// What a policy does with a denial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Denies.
    #[default]
    Enforce,
    /// Decides and counts, never denies.
    Shadow,
}

/// The limits of one server.
#[derive(Debug)]
pub struct Policy {
    server: ServerId,
    mode: Mode,
    own: Limits,
    operations: HashMap<Operation, Limits, RandomState>,
}

/// Why limits make no [`Policy`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Nothing is limited.
    #[error("at least one of global, perUser, tools, prompts or resources must be configured")]
    NoLimit,
    /// An operation is named without a quota.
    #[error("at least one of global or perUser must be configured for {0}")]
    OperationWithoutLimit(Operation),
    /// An operation is named twice.
    #[error("{0} is configured twice")]
    DuplicateOperation(Operation),
}

/// [`Quotas`] as limits, which checks share.
#[derive(Debug, Default)]
struct Limits {
    global: Option<Arc<Limit>>,
    per_user: Option<Arc<Limit>>,
}

impl Limits {
    fn new(server: &ServerId, operation: Option<&Operation>, quotas: Quotas) -> Self {
        let limit = |scope, quota: Option<Quota>| {
            let limit = Limit::new(server.clone(), operation.cloned(), scope, quota?);
            Some(Arc::new(limit))
        };
        Self {
            global: limit(Scope::Global, quotas.global),
            per_user: limit(Scope::PerUser, quotas.per_user),
        }
    }

    fn at(&self, scope: Scope) -> Option<&Arc<Limit>> {
        match scope {
            Scope::Global => self.global.as_ref(),
            Scope::PerUser => self.per_user.as_ref(),
        }
    }
}

impl Policy {
    /// The policy of `server`: its `own` quotas and those of single operations.
    pub fn new(
        server: ServerId,
        mode: Mode,
        own: Quotas,
        operations: impl IntoIterator<Item = (Operation, Quotas)>,
    ) -> Result<Self, PolicyError> {
        let mut limits = HashMap::default();
        for (operation, quotas) in operations {
            if quotas == Quotas::default() {
                return Err(PolicyError::OperationWithoutLimit(operation));
            }
            let of_operation = Limits::new(&server, Some(&operation), quotas);
            if limits.insert(operation.clone(), of_operation).is_some() {
                return Err(PolicyError::DuplicateOperation(operation));
            }
        }
        if own == Quotas::default() && limits.is_empty() {
            return Err(PolicyError::NoLimit);
        }
        Ok(Self {
            own: Limits::new(&server, None, own),
            server,
            mode,
            operations: limits,
        })
    }

    /// The server that the policy protects.
    pub const fn server(&self) -> &ServerId {
        &self.server
    }

    /// Enforce or shadow.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether `operation` has limits of its own.
    pub fn names(&self, operation: &Operation) -> bool {
        self.operations.contains_key(operation)
    }

    /// All limits: the server's own first, then those of operations by kind and name.
    pub fn limits(&self) -> Vec<&Arc<Limit>> {
        let mut operations: Vec<_> = self.operations.iter().collect();
        operations.sort_unstable_by_key(|(operation, _)| *operation);
        std::iter::once(&self.own)
            .chain(operations.into_iter().map(|(_, limits)| limits))
            .flat_map(|limits| [limits.global.as_ref(), limits.per_user.as_ref()])
            .flatten()
            .collect()
    }

    /// The buckets that `check` touches, in the order in which a denial names them: server global,
    /// operation global, server per user, operation per user.
    pub fn plan(&self, check: &Check) -> Plan {
        let of_operation = check
            .operation
            .as_ref()
            .and_then(|operation| self.operations.get(operation));
        let limits = |scope| -> SmallVec<[Arc<Limit>; 2]> {
            let own = self.own.at(scope);
            let of_operation = of_operation.and_then(|limits| limits.at(scope));
            own.into_iter().chain(of_operation).cloned().collect()
        };
        let mut plan = Plan::new(self.server.clone(), check.cost);
        plan.add(Group::Global, limits(Scope::Global));
        let per_user = limits(Scope::PerUser);
        if !per_user.is_empty() {
            plan.add(Group::User(UserKey::of(&check.identity)), per_user);
        }
        plan.traced(check.trace.clone())
    }

    /// All buckets that callers share, or all that one user has, as one plan: to look at them or
    /// to reset them.
    pub fn plan_of(&self, user: Option<&Identity>, operation: Option<&Operation>) -> Plan {
        let (scope, group) = match user {
            None => (Scope::Global, Group::Global),
            Some(identity) => (Scope::PerUser, Group::User(UserKey::of(identity))),
        };
        let limits = self.limits().into_iter().filter(|limit| {
            limit.scope() == scope && (operation.is_none() || limit.operation() == operation)
        });
        let mut plan = Plan::new(self.server.clone(), Check::COST_OF_ONE);
        plan.add(group, limits.cloned().collect());
        plan
    }
}
