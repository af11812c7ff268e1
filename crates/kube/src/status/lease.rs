//! What a replica says of itself: its Lease, written and read.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference},
};
use kube::core::ObjectMeta;

use super::{ALL_NAMESPACES, message::cut};
use crate::{Config, objects::is_newer, source::View};

/// The label by which the Leases of replicas that share policies are found. Its value is the name of
/// the Lease of their election.
pub(super) const LABEL: &str = "toolgate.dev/lease";

/// The longest value of a label, in bytes.
const MAX_LABEL: usize = 63;

/// The annotation with a replica's [`Progress`], as JSON: `{"team-a": "1207"}`.
const PROGRESS: &str = "toolgate.dev/ratelimitpolicies";

/// How long a Lease lasts that is not renewed, in seconds.
pub(super) const SECONDS: i32 = 30;

/// Up to which resource version of `RateLimitPolicy` a replica has put everything into force, by the
/// namespace that it watches; `*` is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress(BTreeMap<String, String>);

impl Progress {
    /// Of a replica that watches what `config` says and has come as far as `view`.
    pub(super) fn of(config: &Config, view: &View) -> Self {
        let watched = config.namespaces.to_watch().into_iter();
        let progress = watched.map(|namespace| {
            // Where nothing was seen yet, there was nothing.
            let newest = view.newest.get(&namespace).cloned();
            let newest = newest.filter(|newest| !newest.is_empty());
            let namespace = namespace.unwrap_or_else(|| ALL_NAMESPACES.to_owned());
            (namespace, newest.unwrap_or_else(|| "0".to_owned()))
        });
        Self(progress.collect())
    }

    /// Whether it covers `version` of an object in `namespace`. None: the replica does not watch that
    /// namespace.
    pub(super) fn covers(&self, namespace: &str, version: &str) -> Option<bool> {
        let newest = self
            .0
            .get(namespace)
            .or_else(|| self.0.get(ALL_NAMESPACES))?;
        // Of what is no number nothing is known but that it is the same.
        Some(newest == version || is_newer(newest, version))
    }
}

/// The Lease, in `namespace`, of the replica that `config` describes and whose pod is in
/// `pod_namespace`.
pub(super) fn write(
    config: &Config,
    (namespace, pod_namespace): (&str, &str),
    progress: &Progress,
    now: Timestamp,
) -> Lease {
    // An owner in another namespace counts as gone: the Lease would be deleted again and again.
    let owner = (namespace == pod_namespace)
        .then(|| owner(config))
        .flatten();
    let progress = serde_json::to_string(&progress.0).unwrap_or_default(); // texts are JSON
    Lease {
        metadata: ObjectMeta {
            name: Some(name(config)),
            labels: Some([(LABEL.to_owned(), label(&config.lease_name).to_owned())].into()),
            annotations: Some([(PROGRESS.to_owned(), progress)].into()),
            owner_references: owner.map(|pod| vec![pod]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(config.replica.clone()),
            lease_duration_seconds: Some(SECONDS),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }),
    }
}

/// The pod of the replica, if its uid is known.
fn owner(config: &Config) -> Option<OwnerReference> {
    let uid = config.pod_uid.clone()?;
    Some(OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: config.replica.clone(),
        uid,
        ..OwnerReference::default()
    })
}

/// The value of [`LABEL`] for an election: the name of its Lease, as far as a label has room.
pub(super) fn label(lease_name: &str) -> &str {
    cut(lease_name, MAX_LABEL).trim_end_matches(['-', '.'])
}

/// The name of the Lease of the replica that `config` describes.
pub(super) fn name(config: &Config) -> String {
    format!("{}-{}", config.lease_name, config.replica)
}

/// A replica's Lease, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heartbeat {
    pub(super) replica: String,
    pub(super) progress: Progress,
    pub(super) renewed: Timestamp,
    /// Of the Lease, by which it can be deleted unless it is renewed meanwhile.
    pub(super) uid: Option<String>,
    pub(super) resource_version: Option<String>,
}

/// What `lease` says. None: it is no replica's.
pub(super) fn read(lease: &Lease) -> Option<Heartbeat> {
    let metadata = &lease.metadata;
    let spec = lease.spec.as_ref()?;
    let progress = metadata.annotations.as_ref()?.get(PROGRESS)?;
    Some(Heartbeat {
        replica: spec.holder_identity.clone()?,
        progress: Progress(serde_json::from_str(progress).ok()?),
        renewed: spec.renew_time.as_ref()?.0,
        uid: metadata.uid.clone(),
        resource_version: metadata.resource_version.clone(),
    })
}

#[cfg(test)]
mod tests;
