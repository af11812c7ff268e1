//! Reads the fields of a mapping and reports all that is wrong with them.

use crate::{
    diagnostic::{Place, Report},
    node::{Entry, Node, Value},
};

/// The fields of one mapping. It remembers what it was asked for, so that it knows which of the
/// fields nobody knows.
#[derive(Debug)]
pub(crate) struct Fields<'n> {
    /// As in `spec.tools[0]`; empty for the document.
    path: String,
    entries: Vec<&'n Entry>,
    known: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// The fields of `node`, which stands at `path`. If it is no mapping, or has a key twice, that
    /// is reported.
    pub(crate) fn of(node: &'n Node, path: String, report: &mut Report<'_>) -> Option<Self> {
        let Value::Mapping(all) = &node.value else {
            let name = if path.is_empty() { "a manifest" } else { &path };
            let kind = node.kind();
            report.error(node.place, format!("{name} must be a mapping, not {kind}"));
            return None;
        };
        let mut entries: Vec<&Entry> = all.iter().collect();
        // Stable: of equal keys the first one stays first.
        entries.sort_by_key(|entry| &entry.key);
        entries.dedup_by(|later, first| {
            let twice = later.key == first.key;
            if twice {
                let (key, first) = (&later.key, report.locate(first.place));
                let message = format!("field {key:?} is given twice; first in {first}");
                report.error(later.place, message);
            }
            twice
        });
        Some(Self {
            path,
            entries,
            known: Vec::new(),
        })
    }

    /// The path of the field `key`.
    pub(crate) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// The field `key`, if it is there, even if it is null.
    pub(crate) fn entry(&mut self, key: &'static str) -> Option<&'n Entry> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let entry = |entry: &&&Entry| entry.key == key;
        self.entries.iter().find(entry).copied()
    }

    /// As [`Fields::entry`], but null is as good as absent, as it is to Kubernetes.
    pub(crate) fn optional(&mut self, key: &'static str) -> Option<&'n Entry> {
        self.entry(key)
            .filter(|entry| !matches!(entry.node.value, Value::Null))
    }

    /// The mapping at `key`, if it is there; null is as good as absent.
    pub(crate) fn mapping(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<Self> {
        let entry = self.optional(key)?;
        Fields::of(&entry.node, self.path_of(key), report)
    }

    /// The text at `key`, if it is there; any other kind of value is reported.
    pub(crate) fn text(
        &mut self,
        key: &'static str,
        report: &mut Report<'_>,
    ) -> Option<(&'n str, Place)> {
        let entry = self.entry(key)?;
        let (path, kind) = (self.path_of(key), entry.node.kind());
        match &entry.node.value {
            Value::Text(text) => return Some((text, entry.node.place)),
            Value::Bool | Value::Integer(_) | Value::Float(_) => report.error(
                entry.node.place,
                format!("{path} must be a text, not {kind}; put it in quotes"),
            ),
            _ => report.error(
                entry.node.place,
                format!("{path} must be a text, not {kind}"),
            ),
        }
        None
    }

    /// Reports the fields that were never asked for.
    pub(crate) fn refuse_unknown(self, report: &mut Report<'_>) {
        self.refuse_unknown_with(|_| None, report);
    }

    /// As [`Fields::refuse_unknown`]; `instead` knows other names of known fields.
    pub(crate) fn refuse_unknown_with(
        self,
        instead: impl Fn(&str) -> Option<&'static str>,
        report: &mut Report<'_>,
    ) {
        let scope = match self.path.as_str() {
            "" => String::new(),
            path => format!(" in {path}"),
        };
        for entry in &self.entries {
            let key = entry.key.as_str();
            if self.known.contains(&key) {
                continue;
            }
            let hint = instead(key).or_else(|| {
                self.known
                    .iter()
                    .copied()
                    .find(|known| alike_to(known, key))
            });
            let hint = match hint {
                Some(known) => format!("did you mean {known}?"),
                None => format!("known fields are {}", self.known.join(", ")),
            };
            let message = format!("unknown field {key:?}{scope}; {hint}");
            report.error(entry.place, message);
        }
    }
}

/// Whether one is the other in another case or with other separators: `max_tokens`, `PerUser`.
fn alike_to(known: &str, key: &str) -> bool {
    let (known, key) = (plain(known), plain(key));
    known == key || format!("{known}s") == key || known == format!("{key}s")
}

/// The letters and digits of `key`, in lower case.
pub(crate) fn plain(key: &str) -> String {
    let letters = key.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|c| c.to_ascii_lowercase()).collect()
}
