//! Objects of a cluster. Each stands for itself: what is wrong with one holds up no other.

use std::path::PathBuf;

use serde_json::Value as Json;
use toolgate_limit::{Policy, ServerId};

use crate::{
    Diagnostics, Kind, Origin,
    diagnostic::{Place, Report},
    manifest::Manifest,
    node::{Entry, Node, Value},
};

/// What one object says.
#[derive(Debug)]
pub struct ObjectManifest {
    /// The server that it limits; known even if the limits are wrong. None: it has no limits, or
    /// even the server is wrong.
    pub server: Option<ServerId>,
    /// Its limits. None if something is wrong, or if an object of `ToolHive` has none.
    pub policy: Option<Policy>,
    /// All that is wrong with it, and warnings, each with the path of its field.
    pub diagnostics: Diagnostics,
}

/// Reads the object `namespace/name` of that `kind` by the rules of manifests in files. `spec` is its
/// field of that name, as the cluster's API gives it.
pub fn read_object(kind: Kind, namespace: &str, name: &str, spec: Option<&Json>) -> ObjectManifest {
    let mut tree = Tree::default();
    let document = tree.document(kind, namespace, name, spec);
    let origin = Origin::Object {
        kind: kind.as_str(),
        name: format!("{namespace}/{name}"),
    };
    let origin = PathBuf::from(origin.to_string());
    let mut report = Report::of_object(&origin, &tree.paths);
    let manifest = Manifest::read(&document, &mut report);
    ObjectManifest {
        server: manifest.server.map(|(server, _)| server),
        policy: manifest.policy,
        diagnostics: report.into_found().into(),
    }
}

/// Numbers the fields of an object, so that each has a place.
#[derive(Default)]
struct Tree {
    paths: Vec<String>,
}

impl Tree {
    fn document(&mut self, kind: Kind, namespace: &str, name: &str, spec: Option<&Json>) -> Node {
        let place = self.place(String::new());
        let text = |text: &str| Json::from(text);
        let version = kind.api_versions()[0];
        let metadata = serde_json::json!({"namespace": namespace, "name": name});
        let mut entries = vec![
            self.entry("", "apiVersion", &text(version)),
            self.entry("", "kind", &text(kind.as_str())),
            self.entry("", "metadata", &metadata),
        ];
        entries.extend(spec.map(|spec| self.entry("", "spec", spec)));
        Node {
            place,
            value: Value::Mapping(entries),
        }
    }

    fn place(&mut self, path: String) -> Place {
        self.paths.push(path);
        Place {
            line: self.paths.len() - 1,
            column: 0,
        }
    }

    /// The field `key` of the mapping at `path`.
    fn entry(&mut self, path: &str, key: &str, value: &Json) -> Entry {
        let path = match path {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        };
        let node = self.node(path, value);
        Entry {
            key: key.to_owned(),
            place: node.place,
            node,
        }
    }

    fn node(&mut self, path: String, value: &Json) -> Node {
        let value = match value {
            Json::Null => Value::Null,
            Json::Bool(_) => Value::Bool,
            Json::Number(number) => match number.as_i128() {
                Some(integer) => Value::Integer(integer),
                None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(items) => {
                let items = items.iter().enumerate();
                Value::List(
                    items
                        .map(|(i, item)| self.node(format!("{path}[{i}]"), item))
                        .collect(),
                )
            }
            Json::Object(fields) => Value::Mapping(
                fields
                    .iter()
                    .map(|(key, value)| self.entry(&path, key, value))
                    .collect(),
            ),
        };
        Node {
            place: self.place(path),
            value,
        }
    }
}

#[cfg(test)]
mod tests;
