//! The metadata that every manifest has: a name and a namespace.

use toolgate_limit::{NameError, ServerId};

use crate::{
    diagnostic::{Place, Report},
    fields::Fields,
};

/// Where a manifest without a namespace belongs.
const DEFAULT_NAMESPACE: &str = "default";

/// The other fields of `ObjectMeta` in Kubernetes' API, which `kubectl get -o yaml` shows.
const STANDARD: [&str; 13] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// A name that Kubernetes would take, and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct ObjectName<'n> {
    text: &'n str,
    place: Place,
}

/// `metadata`, as far as it is right.
#[derive(Debug, Default)]
pub(super) struct Metadata<'n> {
    namespace: Option<&'n str>,
    name: Option<ObjectName<'n>>,
}

impl<'n> Metadata<'n> {
    /// The metadata of a manifest. With `strict` an unknown field is an error.
    pub(super) fn read(
        fields: &mut Fields<'n>,
        fallback: Place,
        strict: bool,
        report: &mut Report<'_>,
    ) -> Self {
        let Some(entry) = fields.optional("metadata") else {
            report.error(fallback, "metadata.name is missing");
            return Self::default();
        };
        let Some(mut metadata) = Fields::of(&entry.node, "metadata".to_owned(), report) else {
            return Self::default();
        };
        let namespace = match metadata.optional("namespace") {
            None => Some(DEFAULT_NAMESPACE),
            Some(_) => read_object_name(&mut metadata, "namespace", report).map(|name| name.text),
        };
        let name = if metadata.optional("name").is_some() {
            read_object_name(&mut metadata, "name", report)
        } else {
            report.error(entry.place, "metadata.name is missing");
            None
        };
        if strict {
            for field in STANDARD {
                metadata.entry(field);
            }
            metadata.refuse_unknown(report);
        }
        Self { namespace, name }
    }

    /// The server of that name, or of the manifest's own name.
    pub(super) fn server(&self, name: Option<ObjectName<'n>>) -> Option<(ServerId, Place)> {
        let name = name.or(self.name)?;
        let server = ServerId::new(self.namespace?, name.text).ok()?;
        Some((server, name.place))
    }
}

/// The name at `key`, if it is there and Kubernetes would take it.
pub(super) fn read_object_name<'n>(
    fields: &mut Fields<'n>,
    key: &'static str,
    report: &mut Report<'_>,
) -> Option<ObjectName<'n>> {
    let (text, place) = fields.text(key, report)?;
    match check(text) {
        Ok(()) => Some(ObjectName { text, place }),
        Err(error) => {
            report.error(place, format!("{} {error}", fields.path_of(key)));
            None
        }
    }
}

/// A namespace and a server name follow the same rule, which the domain checks on pairs.
fn check(name: &str) -> Result<(), NameError> {
    ServerId::new(DEFAULT_NAMESPACE, name).map(drop)
}
