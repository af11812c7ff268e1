//! What an API server checks of a document, in its order, without one.

use std::collections::HashSet;

use jsonschema::{ValidationError, error::ValidationErrorKind};
use kube::{CustomResourceExt as _, core::cel};
use serde_json::Value;
use toolgate_kube::RateLimitPolicy;

pub(crate) struct Judge {
    schema: Value,
    structural: jsonschema::Validator,
}

/// One thing that is wrong with a document.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// As in `spec.tools[0].name`. None: the document is refused before its fields are looked at.
    pub(crate) field: Option<String>,
    /// What a rule, or the decoder, says. None: it is the structural schema that refuses, in its
    /// own words.
    pub(crate) rule: Option<String>,
}

impl Judge {
    pub(crate) fn new() -> Self {
        let definition = serde_json::to_value(RateLimitPolicy::crd()).expect("definition");
        let schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
        Self {
            structural: jsonschema::validator_for(&schema).expect("schema"),
            schema,
        }
    }

    /// All that is wrong with `document`.
    pub(crate) fn refusals(&self, mut document: Value) -> Vec<Refusal> {
        let mut unknown = Vec::new();
        find_unknown(&self.schema, &document, "", &mut unknown);
        if !unknown.is_empty() {
            return unknown;
        }
        drop_nulls(&mut document);
        let document = cel::apply_defaults(&self.schema, &document);
        let (mut refusals, blocked) = self.structural_refusals(&document);
        if blocked {
            return refusals;
        }
        if let Err(errors) = cel::Validator::new().validate(&self.schema, &document, None) {
            refusals.extend(errors.iter().map(|error| Refusal {
                field: Some(error.field_path.clone()),
                rule: Some(error.message.clone()),
            }));
        }
        refusals
    }

    /// What the schema alone refuses, and whether that keeps the rules from being looked at.
    pub(crate) fn structural_refusals(&self, document: &Value) -> (Vec<Refusal>, bool) {
        let mut refusals = Vec::new();
        let mut blocked = false;
        for error in self.structural.iter_errors(document) {
            blocked |= !matches!(
                error.kind(),
                ValidationErrorKind::Minimum { .. } | ValidationErrorKind::Maximum { .. }
            );
            refusals.push(Refusal {
                field: Some(field_of(&error)),
                rule: None,
            });
        }
        find_repeated(&self.schema, document, "", &mut refusals);
        (refusals, blocked)
    }
}

fn field_of(error: &ValidationError<'_>) -> String {
    let mut path = String::new();
    for part in error.instance_path().to_string().split('/').skip(1) {
        match part.parse::<usize>() {
            Ok(index) => path = format!("{path}[{index}]"),
            Err(_) => push(&mut path, part),
        }
    }
    if let ValidationErrorKind::Required { property } = error.kind() {
        push(&mut path, property.as_str().expect("name"));
    }
    path
}

fn push(path: &mut String, field: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(field);
}

/// With strict validation an unknown field is an error before all others. Of metadata, which
/// Kubernetes defines, only what the fixtures have is known here.
fn find_unknown(schema: &Value, value: &Value, path: &str, found: &mut Vec<Refusal>) {
    const ROOT: [&str; 2] = ["apiVersion", "kind"];
    const METADATA: [&str; 9] = [
        "annotations",
        "creationTimestamp",
        "generation",
        "labels",
        "managedFields",
        "name",
        "namespace",
        "resourceVersion",
        "uid",
    ];
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let mut path = path.to_owned();
                push(&mut path, name);
                let known = &schema["properties"][name];
                if !known.is_null() {
                    find_unknown(known, value, &path, found);
                } else if path == "metadata" {
                    let unknown = value.as_object().into_iter().flatten();
                    let unknown = unknown.filter(|(name, _)| !METADATA.contains(&name.as_str()));
                    found.extend(
                        unknown.map(|(name, _)| unknown_field(&format!("metadata.{name}"))),
                    );
                } else if !ROOT.contains(&path.as_str()) {
                    found.push(unknown_field(&path));
                }
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                find_unknown(&schema["items"], item, &format!("{path}[{i}]"), found);
            }
        }
        _ => {}
    }
}

fn unknown_field(path: &str) -> Refusal {
    Refusal {
        field: None,
        rule: Some(format!("unknown field {path:?}")),
    }
}

/// A null where the schema has none is dropped.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// In a list of the type `map` no key may be there twice; no JSON schema can say so.
fn find_repeated(schema: &Value, value: &Value, path: &str, found: &mut Vec<Refusal>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let mut path = path.to_owned();
                push(&mut path, name);
                find_repeated(&schema["properties"][name], value, &path, found);
            }
        }
        Value::Array(items) if schema["x-kubernetes-list-type"] == "map" => {
            let key = schema["x-kubernetes-list-map-keys"][0]
                .as_str()
                .expect("key");
            let mut seen = HashSet::new();
            for (i, item) in items.iter().enumerate() {
                if item[key].as_str().is_some_and(|name| !seen.insert(name)) {
                    found.push(Refusal {
                        field: Some(format!("{path}[{i}]")),
                        rule: None,
                    });
                }
            }
        }
        _ => {}
    }
}
