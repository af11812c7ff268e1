//! YAML documents as trees in which every key and every value knows its place.
//!
//! Serde stops at the first thing that is wrong. A tree that takes anything lets the rules look at
//! all of it, so that one run shows every mistake.

use std::{borrow::Cow, fmt};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{
    DefaultMessageFormatter, DuplicateKeyPolicy, Error, Localizer, Location, NonFiniteFloatPolicy,
    Spanned,
};

use crate::diagnostic::{Place, Report};

/// One value and its place.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Bool,
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// One `key: value` of a mapping.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// The place of the key.
    pub(crate) place: Place,
    pub(crate) node: Node,
}

impl Node {
    /// What it is, as people say it.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool => "a boolean",
            Value::Integer(_) | Value::Float(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }
}

impl Place {
    fn of(location: Location) -> Self {
        let narrow = |number| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            line: narrow(location.line()),
            column: narrow(location.column()),
        }
    }
}

/// The most parts of a text that its aliases repeat: both limits of as many tools as a policy may
/// have, three times. The library's own bound let a file of 256 bytes cost a second.
const MAX_REPLAYED: usize = 150_000;

/// The documents of `text`, without empty ones. What is no YAML is reported; the documents before
/// it are returned.
pub(crate) fn documents(text: &str, report: &mut Report<'_>) -> Vec<Node> {
    // Depth, nodes and aliases are bounded by the library's default budget.
    let options = serde_saphyr::options! {
        // All entries then reach the tree, where a repeated key is an error with a place.
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
        // What aliases cost is bounded here; how many there are of one anchor is no matter.
        budget: serde_saphyr::budget! { enforce_alias_anchor_ratio: false },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPLAYED },
    };
    let mut bytes = text.as_bytes();
    let mut nodes = Vec::new();
    for document in serde_saphyr::read_with_options::<_, Node>(&mut bytes, options) {
        match document {
            Ok(node) => nodes.push(node),
            Err(error) => {
                let location = error.location().unwrap_or(Location::UNKNOWN);
                report.error(Place::of(location), message_of(&error));
            }
        }
    }
    nodes
}

/// The text of a YAML error without its place, which the diagnostic has.
fn message_of(error: &Error) -> String {
    struct NoPlace;
    impl Localizer for NoPlace {
        fn attach_location<'a>(&self, base: Cow<'a, str>, _: Location) -> Cow<'a, str> {
            base
        }
    }
    let formatter = DefaultMessageFormatter.with_localizer(&NoPlace);
    let text = error.render_with_formatter(&formatter);
    format!("not valid YAML: {text}")
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            place: Place::of(spanned.referenced),
            value: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Bool)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, node)) = mapping.next_entry::<Spanned<String>, _>()? {
            entries.push(Entry {
                place: Place::of(key.referenced),
                key: key.value,
                node,
            });
        }
        Ok(Value::Mapping(entries))
    }
}
