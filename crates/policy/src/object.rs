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
    let mut tree = Fields::default();
    let document = tree.document(kind, namespace, name, spec);
    let origin = Origin::Object {
        kind: kind.as_str(),
        name: format!("{namespace}/{name}"),
    };
    let origin = PathBuf::from(origin.to_string());
    let mut report = Report::of_object(&origin, &tree);
    let manifest = Manifest::read(&document, &mut report);
    ObjectManifest {
        server: manifest.server.map(|(server, _)| server),
        policy: manifest.policy,
        diagnostics: report.into_found().into(),
    }
}

/// The fields of an object, each with a number that is its place. A path is made only for who asks:
/// the paths of all of them could take far more memory than the object.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    known: Vec<Field>,
}

#[derive(Debug)]
struct Field {
    /// Of the mapping or list that it is in.
    parent: usize,
    name: Name,
}

#[derive(Debug)]
enum Name {
    Document,
    Key(String),
    Item(usize),
}

impl Fields {
    /// The path of the field with that number, for example `spec.tools[0].name`. None is that of the
    /// object as a whole.
    pub(crate) fn path(&self, number: usize) -> Option<String> {
        let field = self.known.get(number)?;
        let above = || self.path(field.parent);
        match &field.name {
            Name::Document => None,
            Name::Key(key) => Some(match above() {
                None => key.clone(),
                Some(above) => format!("{above}.{key}"),
            }),
            Name::Item(item) => Some(format!("{}[{item}]", above().unwrap_or_default())),
        }
    }

    fn document(&mut self, kind: Kind, namespace: &str, name: &str, spec: Option<&Json>) -> Node {
        let place = self.place(0, Name::Document);
        let text = |text: &str| Json::from(text);
        let version = kind.api_versions()[0];
        let metadata = serde_json::json!({"namespace": namespace, "name": name});
        let mut entries = vec![
            self.entry(place, "apiVersion", &text(version)),
            self.entry(place, "kind", &text(kind.as_str())),
            self.entry(place, "metadata", &metadata),
        ];
        entries.extend(spec.map(|spec| self.entry(place, "spec", spec)));
        Node {
            place,
            value: Value::Mapping(entries),
        }
    }

    fn place(&mut self, parent: usize, name: Name) -> Place {
        self.known.push(Field { parent, name });
        Place {
            line: self.known.len() - 1,
            column: 0,
        }
    }

    /// The field `key` of the mapping at `above`.
    fn entry(&mut self, above: Place, key: &str, value: &Json) -> Entry {
        let place = self.place(above.line, Name::Key(key.to_owned()));
        Entry {
            key: key.to_owned(),
            place,
            node: self.node(place, value),
        }
    }

    fn node(&mut self, place: Place, value: &Json) -> Node {
        let value = match value {
            Json::Null => Value::Null,
            Json::Bool(_) => Value::Bool,
            Json::Number(number) => match number.as_i128() {
                Some(integer) => Value::Integer(integer),
                None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(items) => {
                let mut nodes = Vec::with_capacity(items.len());
                for (number, item) in items.iter().enumerate() {
                    let place = self.place(place.line, Name::Item(number));
                    nodes.push(self.node(place, item));
                }
                Value::List(nodes)
            }
            Json::Object(fields) => {
                let entries = fields
                    .iter()
                    .map(|(key, value)| self.entry(place, key, value));
                Value::Mapping(entries.collect())
            }
        };
        Node { place, value }
    }
}

#[cfg(test)]
mod tests;
