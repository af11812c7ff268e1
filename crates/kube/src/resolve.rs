//! Which objects are in force.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use toolgate_limit::{Policy, ServerId};
use toolgate_policy::{Diagnostic, Diagnostics, Origin};

use crate::objects::{Object, ObjectKey, Objects};

/// What comes into force, and what became of every object that limits, or wants to.
#[derive(Debug, Default)]
pub(crate) struct Resolution {
    /// One policy a server, in the order of their objects.
    pub(crate) policies: Vec<(Arc<Policy>, Origin)>,
    /// All that is not in force as it was written.
    pub(crate) rejected: Diagnostics,
    pub(crate) verdicts: BTreeMap<ObjectKey, Verdict>,
}

impl Resolution {
    /// Whether publishing it after `other` would change nothing.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let mut pairs = self.policies.iter().zip(&other.policies);
        self.rejected == other.rejected
            && self.policies.len() == other.policies.len()
            && pairs.all(|((policy, origin), (other_policy, other_origin))| {
                Arc::ptr_eq(policy, other_policy) && origin == other_origin
            })
    }
}

/// What became of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) reading: Reading,
    /// The older object that limits the same server; this one is not in force.
    pub(crate) loses_to: Option<ObjectKey>,
}

/// Whether an object is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Accepted,
    Rejected {
        diagnostics: Diagnostics,
        /// The older generation of it whose limits stay in force.
        last_good: Option<i64>,
    },
}

/// Of the objects that limit one server the oldest counts; of equally old ones the first by kind,
/// namespace and name. It is the same for all replicas, whatever they have seen first: an object that is
/// wrong keeps its server, though only replicas that have seen it right have limits for it.
pub(crate) fn resolve(objects: &Objects) -> Resolution {
    let mut winners: BTreeMap<&ServerId, (&ObjectKey, &Object)> = BTreeMap::new();
    for (key, object) in objects.iter() {
        let Some(server) = object.claim() else {
            continue;
        };
        match winners.entry(server) {
            Entry::Vacant(server) => {
                server.insert((key, object));
            }
            Entry::Occupied(mut server) => {
                if age(key, object) < age(server.get().0, server.get().1) {
                    server.insert((key, object));
                }
            }
        }
    }
    let mut resolution = Resolution::default();
    let mut rejected = Vec::new();
    for (key, object) in objects.iter() {
        let limits = object.limits.as_ref();
        let server = object.claim();
        let winner = server.and_then(|server| winners.get(server));
        let loses_to = winner
            .map(|(winner, _)| *winner)
            .filter(|winner| *winner != key);
        rejected.extend(object.diagnostics.errors().cloned());
        match (limits, server, loses_to) {
            (Some(limits), _, None) => {
                let policy = Arc::clone(&limits.policy);
                resolution.policies.push((policy, key.origin()));
            }
            (_, Some(server), Some(winner)) => {
                let is_wrong = objects.get(winner).is_some_and(|it| !it.is_accepted());
                let until = if is_wrong {
                    " and is wrong: mend or delete that one"
                } else {
                    ""
                };
                let message =
                    format!("server {server} is limited by {winner}, which came first{until}");
                rejected.push(Diagnostic::error_in(&key.origin(), message));
            }
            _ => {}
        }
        // An object of ToolHive without limits is none of our business.
        if server.is_some() || object.server.is_some() || !object.is_accepted() {
            resolution
                .verdicts
                .insert(key.clone(), verdict(object, loses_to.cloned()));
        }
    }
    resolution.rejected = rejected.into();
    resolution
}

/// What orders objects by age; one that does not know its own is the youngest.
fn age<'o>(key: &'o ObjectKey, object: &Object) -> impl Ord + use<'o> {
    let created = object.revision.created;
    (created.is_none(), created, key)
}

fn verdict(object: &Object, loses_to: Option<ObjectKey>) -> Verdict {
    let reading = if object.is_accepted() {
        Reading::Accepted
    } else {
        Reading::Rejected {
            diagnostics: object.diagnostics.clone(),
            last_good: object.limits.as_ref().map(|limits| limits.generation),
        }
    };
    Verdict { reading, loses_to }
}

#[cfg(test)]
mod tests;
