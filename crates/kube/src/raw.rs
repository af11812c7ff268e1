//! An object of the cluster, of which hardly anything is read yet.
//!
//! A list is one answer: an object that cannot be read would hold up all others, and much of one is
//! none of our business. So the specification stays text until it is looked at by itself, and the
//! rest is skipped.

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Resource,
    core::{ApiResource, ObjectMeta},
};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, value::RawValue};
use toolgate_policy::Kind;

/// What a watch is told of an object.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct RawObject {
    #[serde(deserialize_with = "identity")]
    pub(crate) metadata: ObjectMeta,
    #[serde(default)]
    pub(crate) spec: Option<Box<RawValue>>,
    #[serde(default)]
    pub(crate) status: Option<Box<RawValue>>,
}

/// The fields of the metadata that say which object it is. Others, such as `managedFields`, are as
/// large and as deep as the object.
fn identity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Identity {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        generation: Option<i64>,
        resource_version: Option<String>,
        creation_timestamp: Option<Time>,
    }
    let identity = Identity::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name: identity.name,
        namespace: identity.namespace,
        uid: identity.uid,
        generation: identity.generation,
        resource_version: identity.resource_version,
        creation_timestamp: identity.creation_timestamp,
        ..ObjectMeta::default()
    })
}

impl Resource for RawObject {
    type DynamicType = ApiResource;
    type Scope = kube::core::DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        resource.api_version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The fields of a specification that the rules of `kind` look at; for ours all of them.
///
/// # Errors
///
/// What is read is nested deeper than 128, or is no object.
pub(crate) fn read_spec(kind: Kind, spec: &RawValue) -> serde_json::Result<Value> {
    // Of ToolHive's objects, which hold whole pods. `null` is as good as absent, here too.
    const READ: [&str; 6] = [
        "sessionStorage",
        "incomingAuth",
        "rateLimiting",
        "oidcConfigRef",
        "externalAuthConfigRef",
        "oidcConfig",
    ];
    if kind == Kind::RateLimitPolicy {
        return serde_json::from_str(spec.get());
    }
    let fields = fields(spec)?;
    let mut read = serde_json::Map::new();
    for name in READ {
        if let Some(field) = fields.get(name) {
            read.insert(name.to_owned(), serde_json::from_str(field.get())?);
        }
    }
    if let Some(config) = fields.get("config") {
        let config = self::fields(config)?;
        if let Some(limits) = config.get("rateLimiting") {
            let limits: Value = serde_json::from_str(limits.get())?;
            read.insert(
                "config".to_owned(),
                serde_json::json!({"rateLimiting": limits}),
            );
        }
    }
    Ok(Value::Object(read))
}

/// The fields of a mapping, unread; of a null none.
fn fields(mapping: &RawValue) -> serde_json::Result<BTreeMap<String, Box<RawValue>>> {
    let fields: Option<_> = serde_json::from_str(mapping.get())?;
    Ok(fields.unwrap_or_default())
}

#[cfg(test)]
mod tests;
