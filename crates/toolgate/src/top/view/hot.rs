//! Hot buckets.

use std::collections::HashMap;

use toolgate_proto::pb;

use super::Row;
use crate::output::text;

/// A bucket that many checks touch, at whichever replica.
#[derive(Clone, Debug)]
pub(in crate::top) struct Hot {
    pub(in crate::top) server: String,
    pub(in crate::top) limit: pb::Limit,
    /// None: all callers share it.
    pub(in crate::top) identity: Option<pb::Identity>,
    /// A second.
    pub(in crate::top) checks: f64,
    /// Of these, how many it has refused.
    pub(in crate::top) denied: f64,
    /// None: not known.
    pub(in crate::top) status: Option<pb::BucketStatus>,
}

pub(super) type Key = (String, pb::Limit, Option<pb::Identity>);

/// Adds those of one replica.
pub(super) fn add(all: &mut HashMap<Key, Hot>, buckets: &[pb::HotBucket]) {
    for bucket in buckets {
        let limit = bucket.limit.clone().unwrap_or_default();
        let key = (
            bucket.server.clone(),
            limit.clone(),
            bucket.identity.clone(),
        );
        let known = all.entry(key).or_insert_with(|| Hot {
            server: bucket.server.clone(),
            limit,
            identity: bucket.identity.clone(),
            checks: 0.0,
            denied: 0.0,
            status: None,
        });
        known.checks += bucket.checks_per_second;
        known.denied += bucket.denied_per_second;
        // Of a store that all share the later reading, as it has been taken from since; of stores
        // of their own the one that will refuse first.
        let statuses = [known.status.take(), bucket.status.clone()];
        known.status = statuses.into_iter().flatten().min_by_key(|it| it.remaining);
    }
}

impl Hot {
    /// Of 1, how much is left; none if not known.
    pub(in crate::top) fn fill(&self) -> Option<f64> {
        let status = self.status.as_ref()?;
        let capacity = f64::from(status.capacity.max(1));
        Some((f64::from(status.remaining) / capacity).min(1.0))
    }

    /// The user as people read it, on one line.
    pub(in crate::top) fn user(&self) -> String {
        match &self.identity {
            None => "(shared)".to_owned(),
            Some(user) if user.subject.is_empty() => "(anonymous)".to_owned(),
            Some(user) if user.issuer.is_empty() => text::printable(&user.subject),
            Some(user) => {
                let (subject, issuer) = (&user.subject, &user.issuer);
                format!("{} @ {}", text::printable(subject), text::printable(issuer))
            }
        }
    }
}

impl Row for Hot {
    fn rates(&self) -> (f64, f64) {
        (self.denied, self.checks)
    }

    fn name(&self) -> String {
        let limit = text::limit(Some(&self.limit));
        format!("{}\0{limit}\0{}", self.server, self.user())
    }
}
