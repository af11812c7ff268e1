//! The status of one policy, from what is known of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{lease::Progress, message::errors};
use crate::{
    RateLimitPolicyStatus, ReplicaGeneration,
    resolve::{Reading, Verdict},
    source::Judged,
};

pub(super) const ACCEPTED: &str = "Accepted";
pub(super) const ENFORCED: &str = "Enforced";
pub(super) const CONFLICTED: &str = "Conflicted";

/// The longest message of a condition, in bytes; the definition lets 32 KiB pass.
const MAX_MESSAGE: usize = 4_096;

/// What the status of an object is made from.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) object: &'a Judged,
    /// The resource version of the object when its generation was first seen.
    pub(super) since: &'a str,
    /// The replicas that live.
    pub(super) replicas: &'a BTreeMap<&'a str, &'a Progress>,
    /// The status that the object has.
    pub(super) before: &'a RateLimitPolicyStatus,
}

impl Facts<'_> {
    /// The status that the object should have at `now`.
    pub(super) fn status(&self, now: Timestamp) -> RateLimitPolicyStatus {
        let ours = [
            (ACCEPTED, self.accepted()),
            (ENFORCED, self.enforced()),
            (CONFLICTED, self.conflicted()),
        ];
        let mut conditions = Vec::new();
        for (type_, say) in ours {
            conditions.push(self.condition(type_, say, now));
        }
        let others = self.before.conditions.iter();
        let others = others.filter(|one| ours_is_not(&one.type_));
        conditions.extend(others.cloned());
        RateLimitPolicyStatus {
            server: self.object.server.as_ref().map(ToString::to_string),
            observed_generation: Some(self.generation()),
            conditions,
            replicas: self.replicas(),
        }
    }

    fn generation(&self) -> i64 {
        self.object.revision.generation
    }

    const fn verdict(&self) -> &Verdict {
        &self.object.verdict
    }

    fn condition(&self, type_: &str, say: Say, now: Timestamp) -> Condition {
        let before = self.before.conditions.iter().find(|one| one.type_ == type_);
        let unchanged = before.filter(|before| before.status == say.status);
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now); // as Kubernetes tells it
        Condition {
            type_: type_.to_owned(),
            status: say.status.to_owned(),
            reason: say.reason.to_owned(),
            message: say.message,
            observed_generation: Some(self.generation()),
            last_transition_time: unchanged
                .map_or(Time(now), |before| before.last_transition_time.clone()),
        }
    }

    fn accepted(&self) -> Say {
        match &self.verdict().reading {
            Reading::Accepted => Say::new(TRUE, "Valid", "the policy is valid"),
            Reading::Rejected { diagnostics, .. } => {
                Say::new(FALSE, "Invalid", errors(diagnostics, MAX_MESSAGE))
            }
        }
    }

    fn conflicted(&self) -> Say {
        match &self.verdict().loses_to {
            Some(winner) => {
                let message = format!("{winner} limits the same server and came first");
                Say::new(TRUE, "OlderPolicy", message)
            }
            None => Say::new(
                FALSE,
                "OnlyPolicy",
                "no older policy limits the same server",
            ),
        }
    }

    fn enforced(&self) -> Say {
        let generation = self.generation();
        if let Some(winner) = &self.verdict().loses_to {
            return Say::new(FALSE, "Conflicted", format!("{winner} is in force instead"));
        }
        match self.verdict().reading {
            Reading::Accepted => {}
            Reading::Rejected {
                last_good: Some(last_good),
                ..
            } => {
                let message = format!(
                    "generation {last_good}, the last good one, stays in force in the replicas \
                     that have seen it"
                );
                return Say::new(FALSE, "LastGood", message);
            }
            Reading::Rejected {
                last_good: None, ..
            } => {
                return Say::new(
                    FALSE,
                    "NotAccepted",
                    "no limits of this policy are in force",
                );
            }
        }
        let known: Vec<_> = self.coverage().collect();
        let (all, enforcing) = (
            known.len(),
            known.iter().filter(|(_, covered)| *covered).count(),
        );
        let noun = if all == 1 { "replica" } else { "replicas" };
        let verb = if all == 1 { "enforces" } else { "enforce" };
        let message = format!("{enforcing} of {all} {noun} {verb} generation {generation}");
        match (all, enforcing) {
            (0, _) => Say::new(UNKNOWN, "NoReplicas", "no replica is known to live"),
            (all, enforcing) if all == enforcing => Say::new(TRUE, "AllReplicas", message),
            _ => Say::new(FALSE, "SomeReplicas", message),
        }
    }

    /// The replicas that watch the object's namespace, and whether they have come as far as this
    /// generation.
    fn coverage(&self) -> impl Iterator<Item = (&str, bool)> {
        let namespace = &*self.object.key.namespace;
        self.replicas.iter().filter_map(move |(name, progress)| {
            let covered = progress.covers(namespace, self.since)?;
            Some((*name, covered))
        })
    }

    fn replicas(&self) -> Vec<ReplicaGeneration> {
        let is_in_force = *self.verdict()
            == Verdict {
                reading: Reading::Accepted,
                loses_to: None,
            };
        let known = self.coverage().take(ReplicaGeneration::MAX);
        let replicas = known.map(|(name, covered)| {
            let generation = match (covered, &self.verdict().loses_to) {
                (true, Some(_)) => None,
                (true, None) if is_in_force => Some(self.generation()),
                // Its last good one, or the one before this.
                _ => self.known_generation(name),
            };
            ReplicaGeneration {
                name: name.to_owned(),
                generation,
            }
        });
        replicas.collect()
    }

    fn known_generation(&self, replica: &str) -> Option<i64> {
        let known = self.before.replicas.iter().find(|one| one.name == replica);
        known?.generation
    }
}

/// Whether every replica is known to have come as far as they should.
pub(super) fn is_pending(status: &RateLimitPolicyStatus) -> bool {
    let enforced = find(status, ENFORCED);
    enforced.is_some_and(|enforced| ["SomeReplicas", "NoReplicas"].contains(&&*enforced.reason))
}

/// The condition of that type.
pub(super) fn find<'s>(status: &'s RateLimitPolicyStatus, type_: &str) -> Option<&'s Condition> {
    status.conditions.iter().find(|one| one.type_ == type_)
}

fn ours_is_not(type_: &str) -> bool {
    ![ACCEPTED, ENFORCED, CONFLICTED].contains(&type_)
}

const TRUE: &str = "True";
const FALSE: &str = "False";
const UNKNOWN: &str = "Unknown";

/// What a condition says.
struct Say {
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Say {
    fn new(status: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            reason,
            message: message.into(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
