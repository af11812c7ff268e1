//! The same counts by the limit that refused, for administrators.

use toolgate_limit::{Operation, Scope, ServerId};

use super::{Counts, Outcome, Row};

/// Checks that went one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    /// None: servers without a policy.
    pub(crate) server: Option<ServerId>,
    pub(crate) course: Course,
    /// The limit that refused them, if it is known.
    pub(crate) limit: Option<Refusing>,
    pub(crate) count: u64,
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    Allowed,
    Unlimited,
    Denied,
    ShadowDenied,
}

/// A limit as it is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusing {
    pub(crate) scope: Scope,
    pub(crate) target: Target,
}

/// What a limit is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Server,
    Operation(Operation),
    /// Any of the server's resources.
    Resources,
}

impl Outcome {
    /// In their order.
    const ALL: [(Course, Option<Scope>); Self::LABELS.len()] = [
        (Course::Allowed, None),
        (Course::Unlimited, None),
        (Course::Denied, Some(Scope::Global)),
        (Course::Denied, Some(Scope::PerUser)),
        (Course::ShadowDenied, Some(Scope::Global)),
        (Course::ShadowDenied, Some(Scope::PerUser)),
    ];
}

impl Counts {
    /// All that has happened, in no order, and some of it in several parts.
    pub(in crate::observe::metrics) fn by_limit(&self) -> Vec<Counted> {
        let mut all = Vec::new();
        let mut add = |server: Option<&ServerId>, target: Option<Target>, row: &Row| {
            for ((course, scope), count) in Outcome::ALL.into_iter().zip(row.0) {
                if count == 0 {
                    continue;
                }
                let limit = scope.zip(target.clone());
                all.push(Counted {
                    server: server.cloned(),
                    course,
                    limit: limit.map(|(scope, target)| Refusing { scope, target }),
                    count,
                });
            }
        };
        add(None, None, &self.other.server);
        add(None, None, &self.other.other);
        for (id, server) in &self.servers {
            add(Some(id), Some(Target::Server), &server.unnamed.server);
            // A limit that has left the policy since.
            add(Some(id), None, &server.unnamed.other);
            add(Some(id), Some(Target::Resources), &server.resources);
            for (operation, row) in &server.named {
                add(Some(id), Some(Target::Operation(operation.clone())), row);
            }
        }
        all
    }
}
