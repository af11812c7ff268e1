//! What a leader remembers of a policy.

use std::time::Duration;

use serde::Deserialize as _;
use tokio::time::Instant;

use crate::{RateLimitPolicyStatus, objects::is_newer, source::Judged, status::cluster::Written};

/// How long a policy is left alone whose status was refused, though others may have been written: the
/// first time, doubling, and at most.
pub(super) const LEAVE_ALONE: Duration = Duration::from_secs(30);
const LEAVE_ALONE_MOST: Duration = Duration::from_mins(10);

#[derive(Debug, Default)]
pub(super) struct Memory {
    generation: i64,
    /// Its resource version when that generation was first seen.
    pub(super) since: String,
    /// What was written last, which the view may not show yet.
    written: Option<Written>,
    refused: Option<Refused>,
    contested: Option<Contested>,
}

/// Somebody else has overwritten the status, a leader of other replicas perhaps that share the policy:
/// to answer each time would never end.
#[derive(Debug)]
struct Contested {
    until: Instant,
    next: Duration,
}

/// A policy whose status was refused is left alone until then, or until it has another version.
#[derive(Debug)]
struct Refused {
    resource_version: String,
    until: Instant,
    next: Duration,
}

impl Memory {
    /// The newest resource version and status that are known of `object`.
    pub(super) fn latest(&mut self, object: &Judged) -> (String, RateLimitPolicyStatus) {
        let revision = &object.revision;
        if self.since.is_empty() || self.generation != revision.generation {
            self.generation = revision.generation;
            self.since.clone_from(&revision.resource_version);
            self.contested = None;
        }
        let seen = &revision.resource_version;
        // Also of the same version: an older definition may drop fields of what was written, and to
        // write them again would drop them again.
        let written = self.written.take();
        let is_known = |written: &Written| !is_newer(seen, &written.resource_version);
        if let Some(written) = written.clone().filter(is_known) {
            let latest = (written.resource_version.clone(), written.status.clone());
            self.written = Some(written);
            return latest;
        }
        let status = object.status.clone();
        let status = status.and_then(|status| RateLimitPolicyStatus::deserialize(&*status).ok());
        let status = status.unwrap_or_default();
        let is_undone = |written: &Written| {
            written.status.observed_generation == Some(revision.generation)
                && written.status != status
        };
        if written.as_ref().is_some_and(is_undone) {
            self.was_undone(object);
        }
        (seen.clone(), status)
    }

    fn was_undone(&mut self, object: &Judged) {
        let key = &object.key;
        let before = self.contested.take();
        if before.is_none() {
            tracing::warn!(%key, "somebody else writes this status too: other limiters, with a Lease of their own?");
        }
        let wait = before.map_or(LEAVE_ALONE, |before| before.next);
        self.contested = Some(Contested {
            until: Instant::now() + wait,
            next: (wait * 2).min(LEAVE_ALONE_MOST),
        });
    }

    pub(super) fn wrote(&mut self, written: Written) {
        self.written = Some(written);
        self.refused = None;
    }

    /// The status was refused that was made from `resource_version`.
    pub(super) fn was_refused(&mut self, resource_version: String) {
        let before = self.refused.take();
        let wait = before.map_or(LEAVE_ALONE, |before| before.next);
        self.refused = Some(Refused {
            resource_version,
            until: Instant::now() + wait,
            next: (wait * 2).min(LEAVE_ALONE_MOST),
        });
        // If it is newer than what the view shows, the view is right.
        self.written = None;
    }

    pub(super) fn is_left_alone(&self, resource_version: &str) -> bool {
        let now = Instant::now();
        let refused = self.refused.as_ref();
        let contested = self.contested.as_ref();
        contested.is_some_and(|contested| now < contested.until)
            || refused.is_some_and(|refused| {
                refused.resource_version == resource_version && now < refused.until
            })
    }
}
