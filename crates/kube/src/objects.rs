//! The objects that are known, and what each says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use jiff::Timestamp;
use serde_json::{Value, value::RawValue};
use toolgate_limit::{Policy, ServerId};
use toolgate_policy::{Diagnostic, Diagnostics, Kind, ObjectManifest, Origin, read_object};

use crate::{
    raw::{RawObject, read_spec},
    watch::{Change, Followed},
};

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectKey {
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl ObjectKey {
    pub(crate) fn origin(&self) -> Origin {
        Origin::Object {
            kind: self.kind.as_str(),
            name: format!("{}/{}", self.namespace, self.name),
        }
    }
}

impl ObjectKey {
    /// The server of an object of ToolHive, whatever it says otherwise.
    fn server(&self) -> Option<ServerId> {
        match self.kind {
            Kind::RateLimitPolicy => None,
            Kind::VirtualMcpServer | Kind::McpServer => {
                ServerId::new(&self.namespace, &self.name).ok()
            }
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.origin().fmt(f)
    }
}

/// An object as the API server gives it.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) key: ObjectKey,
    pub(crate) revision: Revision,
    /// What of it is read; an error if it is nested too deep.
    pub(crate) spec: serde_json::Result<Option<Value>>,
    /// Of a `RateLimitPolicy` alone.
    pub(crate) status: Option<Arc<Value>>,
}

/// Which revision of which object of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Revision {
    /// Unlike that of an object of the same name before or after it.
    pub(crate) uid: String,
    /// Counts the changes of the specification, from 1.
    pub(crate) generation: i64,
    /// Of the object as a whole, its status included.
    pub(crate) resource_version: String,
    /// Of the specification. A definition with other defaults, or a cluster that was restored, gives
    /// another one under the same generation.
    pub(crate) digest: u64,
    pub(crate) created: Option<Timestamp>,
}

impl Revision {
    /// Whether both have the same specification.
    fn says_the_same(&self, other: &Self) -> bool {
        (self.generation, self.digest) == (other.generation, other.digest)
    }
}

impl Observed {
    /// None if it has no name or namespace, which an API server does not do.
    pub(crate) fn of(kind: Kind, object: RawObject) -> Option<Self> {
        let metadata = object.metadata;
        let status = object.status.filter(|_| kind == Kind::RateLimitPolicy);
        let status = status.and_then(|status| serde_json::from_str(status.get()).ok());
        let status = status.map(Arc::new);
        Some(Self {
            key: ObjectKey {
                kind,
                namespace: metadata.namespace?,
                name: metadata.name?,
            },
            revision: Revision {
                uid: metadata.uid.unwrap_or_default(),
                generation: metadata.generation.unwrap_or_default(),
                resource_version: metadata.resource_version.unwrap_or_default(),
                digest: digest(object.spec.as_deref()),
                created: metadata.creation_timestamp.map(|time| time.0),
            },
            spec: {
                let spec = object.spec.as_deref();
                spec.map(|spec| read_spec(kind, spec)).transpose()
            },
            status,
        })
    }
}

fn digest(spec: Option<&RawValue>) -> u64 {
    let mut hasher = DefaultHasher::new();
    spec.map(RawValue::get).hash(&mut hasher);
    hasher.finish()
}

/// An object, read.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) revision: Revision,
    pub(crate) status: Option<Arc<Value>>,
    /// The server that it limits, as far as it says that rightly.
    pub(crate) server: Option<ServerId>,
    pub(crate) diagnostics: Diagnostics,
    /// The limits that it has, or had when it was last right. None if it never was, or has none.
    pub(crate) limits: Option<Limits>,
}

/// The limits of one generation of an object.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) generation: i64,
    pub(crate) policy: Arc<Policy>,
}

/// How an object is read.
type Read = fn(Kind, &str, &str, Option<&Value>) -> ObjectManifest;

/// All objects.
#[derive(Debug)]
pub(crate) struct Objects {
    read: Read,
    known: BTreeMap<ObjectKey, Object>,
    /// The watches that have told at least once what there is.
    listed: BTreeSet<Followed>,
    /// The newest resource version that each watch has told of since its last list.
    newest: BTreeMap<Followed, String>,
}

impl Default for Objects {
    fn default() -> Self {
        Self::reading_with(read_object)
    }
}

impl Objects {
    pub(crate) fn reading_with(read: Read) -> Self {
        Self {
            read,
            known: BTreeMap::new(),
            listed: BTreeSet::new(),
            newest: BTreeMap::new(),
        }
    }

    /// The objects by their keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Object)> {
        self.known.iter()
    }

    pub(crate) fn get(&self, key: &ObjectKey) -> Option<&Object> {
        self.known.get(key)
    }

    /// How many watches have told what there is.
    pub(crate) fn listed(&self) -> usize {
        self.listed.len()
    }

    /// Of each namespace that is watched (none: all of them) the newest resource version of a
    /// `RateLimitPolicy` that was seen. All changes up to it were.
    pub(crate) fn newest_policies(&self) -> BTreeMap<Option<String>, String> {
        let of_policies = self
            .newest
            .iter()
            .filter(|(followed, _)| followed.kind == Kind::RateLimitPolicy);
        of_policies
            .map(|(followed, version)| (followed.namespace.clone(), version.clone()))
            .collect()
    }

    /// Takes over what a watch has seen. Whether any limits may have changed by it.
    pub(crate) fn apply(&mut self, followed: Followed, change: Change) -> bool {
        match change {
            Change::Listed(objects) => {
                let listed: BTreeSet<_> = objects.iter().map(|object| object.key.clone()).collect();
                let before = self.known.len();
                self.known
                    .retain(|key, _| !followed.covers(key) || listed.contains(key));
                let mut changed = self.known.len() != before;
                // A cluster that was restored from a copy counts anew from there.
                self.newest.remove(&followed);
                for object in objects {
                    changed |= self.put(&followed, object);
                }
                self.listed.insert(followed) || changed
            }
            Change::Applied(object) => self.put(&followed, object),
            Change::Deleted(namespace, name) => {
                let key = ObjectKey {
                    kind: followed.kind,
                    namespace,
                    name,
                };
                self.known.remove(&key).is_some()
            }
        }
    }

    /// Whether its limits may be others than before.
    fn put(&mut self, followed: &Followed, observed: Observed) -> bool {
        let Observed {
            key,
            revision,
            spec,
            status,
        } = observed;
        let seen = self.newest.entry(followed.clone()).or_default();
        if is_newer(&revision.resource_version, seen) {
            seen.clone_from(&revision.resource_version);
        }
        let before = self.known.remove(&key);
        let before = before.filter(|before| before.revision.uid == revision.uid);
        let (object, changed) = match before {
            // Its status has changed, or its labels.
            Some(before) if before.revision.says_the_same(&revision) => {
                let object = Object {
                    revision,
                    status,
                    ..before
                };
                (object, false)
            }
            before => {
                let last_good = before.and_then(|before| before.limits);
                let object = Object::read(self.read, &key, revision, spec, status, last_good);
                (object, true)
            }
        };
        self.known.insert(key, object);
        changed
    }
}

impl Followed {
    fn covers(&self, key: &ObjectKey) -> bool {
        let namespace = self.namespace.as_ref();
        self.kind == key.kind && namespace.is_none_or(|namespace| *namespace == key.namespace)
    }
}

impl Object {
    fn read(
        read: Read,
        key: &ObjectKey,
        revision: Revision,
        spec: serde_json::Result<Option<Value>>,
        status: Option<Arc<Value>>,
        last_good: Option<Limits>,
    ) -> Self {
        let spec = match spec {
            Ok(spec) => spec,
            Err(error) => {
                let message = format!("spec cannot be read: {error}");
                return Self::unreadable(key, revision, status, last_good, message);
            }
        };
        // An object stays in the cluster: its author could end every limiter again and again.
        let reading = || read(key.kind, &key.namespace, &key.name, spec.as_ref());
        let Ok(read) = catch_unwind(AssertUnwindSafe(reading)) else {
            let message = "reading it has panicked, which is a fault of the limiter";
            return Self::unreadable(key, revision, status, last_good, message.to_owned());
        };
        let generation = revision.generation;
        let limits = match read.policy {
            Some(policy) => Some(Limits {
                generation,
                policy: Arc::new(policy),
            }),
            None if read.diagnostics.has_errors() => last_good,
            // It is right to have none.
            None => None,
        };
        Self {
            revision,
            status,
            server: read.server,
            diagnostics: read.diagnostics,
            limits,
        }
    }

    fn unreadable(
        key: &ObjectKey,
        revision: Revision,
        status: Option<Arc<Value>>,
        last_good: Option<Limits>,
        message: String,
    ) -> Self {
        Self {
            revision,
            status,
            server: key.server(),
            diagnostics: vec![Diagnostic::error_in(&key.origin(), message)].into(),
            limits: last_good,
        }
    }

    /// The server that no younger object may limit: the one that it names, right or wrong. Replicas that
    /// have seen other limits of it than it has now agree on that.
    pub(crate) fn claim(&self) -> Option<&ServerId> {
        let limits = self.limits.as_ref().map(|limits| limits.policy.server());
        let named = self.server.as_ref().filter(|_| !self.is_accepted());
        limits.or(named)
    }

    /// Whether it says rightly what it says now.
    pub(crate) fn is_accepted(&self) -> bool {
        !self.diagnostics.has_errors()
    }
}

/// Resource versions of one kind are whole numbers that grow, which Kubernetes promises since 1.35
/// (KEP-5504) and has always done.
pub(crate) fn is_newer(version: &str, than: &str) -> bool {
    let number = |version: &str| version.parse::<u128>().ok();
    number(version) > number(than)
}

#[cfg(test)]
pub(crate) mod tests;
