//! How a watch has fared, told to the log once for each change.

use std::time::Duration;

use tokio::time::Instant;
use toolgate_policy::Kind;

use super::{Followed, chain};
use crate::Instruments;

/// How long a kind that was served must be gone, every time that it is asked for, until its objects
/// are taken for deleted. An API server that is starting may not know it for a moment.
pub(super) const KIND_IS_GONE: Duration = Duration::from_mins(1);

/// Failures further apart than this are news each: between two tries there is less, and a watch that
/// goes on after a failure says nothing as long as nothing changes.
const FAILURES_ARE_ONE: Duration = Duration::from_secs(30);

/// How one watch has fared.
pub(crate) struct Course {
    kind: &'static str,
    namespace: String,
    /// Whether its objects are known, if only as none.
    was_listed: bool,
    /// Whether it was told that there are none, because the kind is not served.
    was_told: bool,
    /// Since when the API server does not know the kind.
    unknown_since: Option<Instant>,
    failed_at: Option<Instant>,
    instruments: Instruments,
}

impl Course {
    pub(super) fn new(followed: &Followed, instruments: Instruments) -> Self {
        Self {
            kind: followed.kind.as_str(),
            namespace: followed.namespace.clone().unwrap_or_else(|| "*".to_owned()),
            was_listed: false,
            was_told: false,
            unknown_since: None,
            failed_at: None,
            instruments,
        }
    }

    pub(super) fn listed(&mut self, objects: usize) {
        let Self {
            kind, namespace, ..
        } = self;
        if !self.was_listed || self.failed_at.is_some() || self.unknown_since.is_some() {
            tracing::info!(kind, namespace, objects, "the cluster's objects are listed");
        }
        (self.was_listed, self.unknown_since, self.failed_at) = (true, None, None);
    }

    pub(super) fn failed(&mut self, error: &(dyn std::error::Error + 'static), now: Instant) {
        self.instruments.failed(self.kind);
        // Whether it is served is not known any more.
        self.unknown_since = None;
        let before = self.failed_at.replace(now);
        let (kind, namespace, reason) = (self.kind, &self.namespace, chain(error));
        if before.is_some_and(|before| now.duration_since(before) < FAILURES_ARE_ONE) {
            tracing::debug!(
                kind,
                namespace,
                reason,
                "the cluster's objects cannot be watched"
            );
        } else if self.was_listed {
            tracing::warn!(
                kind,
                namespace,
                reason,
                "the cluster's objects cannot be watched; what is in force stays in force"
            );
        } else {
            tracing::warn!(
                kind,
                namespace,
                reason,
                "the cluster's objects cannot be listed; this replica is not ready until they are"
            );
        }
    }

    /// The kind is served.
    pub(super) fn known(&mut self) {
        self.unknown_since = None;
    }

    /// Whether the API server has said that it does not know the kind, and nothing else since.
    pub(super) const fn is_unknown(&self) -> bool {
        self.unknown_since.is_some()
    }

    /// It is told of a change.
    pub(super) fn goes_on(&mut self) {
        if self.failed_at.take().is_some() {
            let (kind, namespace) = (self.kind, &self.namespace);
            tracing::info!(kind, namespace, "the cluster's objects are watched again");
        }
    }

    /// The API server says that it does not know the kind. Whether there are therefore no objects,
    /// which is said once.
    pub(super) fn is_gone(&mut self, now: Instant) -> bool {
        let (kind, namespace) = (self.kind, &self.namespace);
        let first = self.unknown_since.is_none();
        let since = *self.unknown_since.get_or_insert(now);
        if self.was_listed {
            let is_over = now.duration_since(since) >= KIND_IS_GONE;
            if first {
                tracing::warn!(kind, "the cluster does not serve this kind any more");
            } else if is_over {
                tracing::warn!(kind, "the kind is gone, and its limits with it");
                self.was_listed = false;
                self.was_told = true;
            }
            return is_over;
        }
        // Without our own kind there is no telling an empty cluster from a broken installation.
        let is_optional = kind != Kind::RateLimitPolicy.as_str();
        if first && !is_optional {
            tracing::error!(
                kind,
                "the cluster does not serve this kind: apply what `toolgate crd` prints"
            );
        }
        // The first answer may be that of an API server that is starting.
        if first || !is_optional || self.was_told {
            return false;
        }
        tracing::info!(kind, namespace, "the cluster does not serve this kind yet");
        self.was_told = true;
        true
    }
}

#[cfg(test)]
mod tests;
