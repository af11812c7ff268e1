//! Checks by server, operation and what was decided.
//!
//! A series has a name only if a policy in force has it: callers choose servers and operations, and
//! what no policy names is `other`. Who has left the policies is dropped with the next snapshot, so
//! there are never more series than the policies have names; the counts of those that stay go on.

mod by_limit;

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;
use toolgate_limit::{
    Answer, Check, Decision, Operation, OperationKind, Policy, Scope, ServerId, Snapshot,
};

pub(crate) use by_limit::{Counted, Course, Target};

/// The label of what no policy names.
const OTHER: &str = "other";

/// What a worker has decided, or all of them together.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// The policies by which names are known.
    snapshot: Arc<Snapshot>,
    servers: HashMap<ServerId, Server, RandomState>,
    /// Of servers without a policy.
    other: Unnamed,
    /// Checks that were decided without the store, which are among the others.
    degraded: Row,
}

/// Checks of one server.
#[derive(Clone, Debug)]
struct Server {
    policy: Arc<Policy>,
    /// Of tools and prompts that the policy names, once they were checked.
    named: HashMap<Operation, Row, RandomState>,
    /// Of all resources that it names: a URI is no label.
    resources: Row,
    unnamed: Unnamed,
}

/// Checks of what has no name in a policy.
#[derive(Clone, Copy, Debug, Default)]
struct Unnamed {
    /// Without an operation, or refused by the server's own limit.
    server: Row,
    /// Of other operations.
    other: Row,
}

/// Checks of one operation by [`Outcome`].
#[derive(Clone, Copy, Debug, Default)]
struct Row([u64; Outcome::LABELS.len()]);

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Allowed,
    Unlimited,
    DeniedGlobal,
    DeniedPerUser,
    ShadowDeniedGlobal,
    ShadowDeniedPerUser,
}

/// One line of the exposition.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Series {
    server: String,
    operation: String,
    decision: &'static str,
    scope: &'static str,
    pub(super) count: u64,
}

impl Outcome {
    /// Decision and scope of each, in order.
    const LABELS: [(&'static str, &'static str); 6] = [
        ("allowed", ""),
        ("unlimited", ""),
        ("denied", "global"),
        ("denied", "per_user"),
        ("shadow_denied", "global"),
        ("shadow_denied", "per_user"),
    ];

    /// What `answer` decides, and the operation that it counts for: of a denial that of the limit
    /// that refused, else that of the check.
    fn of<'a>(check: &'a Check, answer: &'a Answer) -> (Self, Option<&'a Operation>) {
        let (denial, by_scope) = match (&answer.decision, &answer.shadowed) {
            (Decision::Denied(denial), _) => (denial, [Self::DeniedGlobal, Self::DeniedPerUser]),
            (Decision::Allowed, Some(denial)) => {
                let shadow = [Self::ShadowDeniedGlobal, Self::ShadowDeniedPerUser];
                (denial, shadow)
            }
            (Decision::Allowed, None) if answer.unlimited => {
                return (Self::Unlimited, check.operation.as_ref());
            }
            (Decision::Allowed, None) => return (Self::Allowed, check.operation.as_ref()),
        };
        let outcome = match denial.limit.scope() {
            Scope::Global => by_scope[0],
            Scope::PerUser => by_scope[1],
        };
        (outcome, denial.limit.operation())
    }
}

impl Counts {
    pub(super) fn generation(&self) -> u64 {
        self.snapshot.generation()
    }

    /// Goes by the names of `snapshot` from now on.
    pub(super) fn renew(&mut self, snapshot: Arc<Snapshot>) {
        self.servers.retain(|id, _| snapshot.policy(id).is_some());
        for (id, server) in &mut self.servers {
            if let Some(policy) = snapshot.policy(id) {
                server.renew(policy);
            }
        }
        self.snapshot = snapshot;
    }

    pub(super) fn count(&mut self, check: &Check, answer: &Answer) {
        let (outcome, operation) = Outcome::of(check, answer);
        if answer.degraded {
            self.degraded.count(outcome);
        }
        if let Some(server) = self.servers.get_mut(&check.server) {
            return server.count(operation, outcome);
        }
        let Some(policy) = self.snapshot.policy(&check.server) else {
            return self.other.count(operation, outcome);
        };
        let mut server = Server::of(policy);
        server.count(operation, outcome);
        self.servers.insert(check.server.clone(), server);
    }

    /// Adds what another worker has counted.
    pub(super) fn add(&mut self, other: Self) {
        for (id, theirs) in other.servers {
            let mine = self.servers.entry(id);
            let mine = mine.or_insert_with(|| Server::of(&theirs.policy));
            mine.resources.add(&theirs.resources);
            mine.unnamed.add(&theirs.unnamed);
            for (operation, row) in theirs.named {
                mine.named.entry(operation).or_default().add(&row);
            }
        }
        self.other.add(&other.other);
        self.degraded.add(&other.degraded);
    }

    /// Checks that were decided without the store, by what was decided. A call that nothing limits
    /// needs no store.
    pub(super) fn degraded(&self) -> [(&'static str, u64); 3] {
        ["allowed", "denied", "shadow_denied"]
            .map(|decision| (decision, self.degraded.of(decision)))
    }

    /// All series that have counted something, in order.
    pub(super) fn series(&self) -> Vec<Series> {
        let mut all = Vec::new();
        self.other.show(OTHER, &mut all);
        for (id, server) in &self.servers {
            let id = id.as_str();
            server.unnamed.show(id, &mut all);
            server.resources.show(id, "resource", &mut all);
            for (operation, row) in &server.named {
                let operation = format!("{}:{}", operation.kind(), operation.name());
                row.show(id, &operation, &mut all);
            }
        }
        all.sort_unstable();
        all
    }
}

impl Server {
    fn of(policy: &Arc<Policy>) -> Self {
        Self {
            policy: Arc::clone(policy),
            named: HashMap::default(),
            resources: Row::default(),
            unnamed: Unnamed::default(),
        }
    }

    fn renew(&mut self, policy: &Arc<Policy>) {
        self.named.retain(|operation, _| policy.names(operation));
        self.policy = Arc::clone(policy);
    }

    fn count(&mut self, operation: Option<&Operation>, outcome: Outcome) {
        if let Some(operation) = operation {
            if let Some(row) = self.named.get_mut(operation) {
                return row.count(outcome);
            }
            if self.policy.names(operation) {
                let row = match operation.kind() {
                    OperationKind::Resource => &mut self.resources,
                    OperationKind::Tool | OperationKind::Prompt => {
                        self.named.entry(operation.clone()).or_default()
                    }
                };
                return row.count(outcome);
            }
        }
        self.unnamed.count(operation, outcome);
    }
}

impl Unnamed {
    const fn count(&mut self, operation: Option<&Operation>, outcome: Outcome) {
        match operation {
            None => self.server.count(outcome),
            Some(_) => self.other.count(outcome),
        }
    }

    fn add(&mut self, other: &Self) {
        self.server.add(&other.server);
        self.other.add(&other.other);
    }

    fn show(&self, server: &str, series: &mut Vec<Series>) {
        self.server.show(server, "server", series);
        self.other.show(server, OTHER, series);
    }
}

impl Row {
    const fn count(&mut self, outcome: Outcome) {
        self.0[outcome as usize] += 1;
    }

    fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// All scopes together.
    fn of(&self, decision: &str) -> u64 {
        let counted = Outcome::LABELS.iter().zip(self.0);
        let counted = counted.filter(|((label, _), _)| *label == decision);
        counted.map(|(_, count)| count).sum()
    }

    fn show(&self, server: &str, operation: &str, series: &mut Vec<Series>) {
        let counted = Outcome::LABELS.into_iter().zip(self.0);
        let counted = counted.filter(|(_, count)| *count > 0);
        series.extend(counted.map(|((decision, scope), count)| Series {
            server: server.to_owned(),
            operation: operation.to_owned(),
            decision,
            scope,
            count,
        }));
    }
}

impl Series {
    pub(super) fn labels(&self) -> [(&'static str, &str); 4] {
        [
            ("server", self.server.as_str()),
            ("decision", self.decision),
            ("scope", self.scope),
            ("operation", self.operation.as_str()),
        ]
    }
}

#[cfg(test)]
mod tests;
