//! What people are told of with an Event, and the Event itself.

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::core::ObjectMeta;

use super::{
    condition::{ACCEPTED, CONFLICTED, find},
    message::{cut, errors},
};
use crate::{RateLimitPolicyStatus, resolve::Reading, source::Judged};

/// The longest note of an Event, in bytes (events.k8s.io/v1).
const MAX_NOTE: usize = 1_024;

/// The longest name of a reporting instance, in bytes.
const MAX_INSTANCE: usize = 128;

/// One piece of news of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct News {
    type_: &'static str,
    pub(super) reason: &'static str,
    note: String,
}

/// What is new in a status: each reason once for each generation, because the status remembers it.
pub(super) fn news(
    object: &Judged,
    before: &RateLimitPolicyStatus,
    after: &RateLimitPolicyStatus,
) -> Vec<News> {
    let is = |status, type_, expected: &str| {
        find(status, type_).is_some_and(|condition| condition.status == expected)
    };
    let same_generation = before.observed_generation == after.observed_generation;
    let was_said = |type_, expected| same_generation && is(before, type_, expected);
    let mut news = state_of(object);
    news.retain(|one| match one.reason {
        REJECTED => !was_said(ACCEPTED, "False"),
        _ => !was_said(CONFLICTED, "True"),
    });
    if is(before, ACCEPTED, "False") && is(after, ACCEPTED, "True") {
        news.push(News {
            type_: "Normal",
            reason: "Accepted",
            note: "the policy is valid again".to_owned(),
        });
    }
    news
}

/// What is wrong with an object now.
pub(super) fn state_of(object: &Judged) -> Vec<News> {
    let mut news = Vec::new();
    let mut warn = |reason, note: String| {
        news.push(News {
            type_: "Warning",
            reason,
            note,
        });
    };
    if let Reading::Rejected { diagnostics, .. } = &object.verdict.reading {
        warn(REJECTED, errors(diagnostics, MAX_NOTE));
    }
    if let Some(winner) = &object.verdict.loses_to {
        let note = format!("{winner} limits the same server, came first, and is in force instead");
        warn("Conflicted", note);
    }
    news
}

const REJECTED: &str = "Rejected";

impl News {
    /// The Event that `replica` tells it with.
    ///
    /// Its name follows from the object, its generation and the reason: told again, by another
    /// leader, it exists already. (An event recorder makes names from the time.)
    pub(super) fn event(&self, object: &Judged, replica: &str, now: Timestamp) -> Event {
        let (key, revision) = (&object.key, &object.revision);
        let suffix = format!(
            ".{}.{}.{}",
            revision.uid,
            revision.generation,
            self.reason.to_ascii_lowercase()
        );
        let room = 253_usize.saturating_sub(suffix.len());
        let name = cut(&key.name, room).trim_end_matches(['-', '.']);
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}{suffix}")),
                namespace: Some(key.namespace.clone()),
                ..ObjectMeta::default()
            },
            action: Some("Read".to_owned()),
            event_time: Some(MicroTime(now)),
            note: Some(cut(&self.note, MAX_NOTE).to_owned()),
            reason: Some(self.reason.to_owned()),
            regarding: Some(ObjectReference {
                api_version: Some(key.kind.api_versions()[0].to_owned()),
                kind: Some(key.kind.as_str().to_owned()),
                namespace: Some(key.namespace.clone()),
                name: Some(key.name.clone()),
                uid: Some(revision.uid.clone()),
                resource_version: Some(revision.resource_version.clone()),
                ..ObjectReference::default()
            }),
            reporting_controller: Some("toolgate.dev/toolgate".to_owned()),
            reporting_instance: Some(cut(replica, MAX_INSTANCE).to_owned()),
            type_: Some(self.type_.to_owned()),
            ..Event::default()
        }
    }
}

#[cfg(test)]
mod tests;
