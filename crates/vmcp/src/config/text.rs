//! Fields that are written as text, in the form that `FromStr` reads, and names of fields.

use std::{fmt::Display, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, de::Error};
use toolgate_limit::GoDuration;

pub(super) fn parsed<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(D::Error::custom)
}

pub(super) fn all_of<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let texts = Vec::<String>::deserialize(deserializer)?;
    let parsed = texts
        .iter()
        .map(|text| text.parse().map_err(D::Error::custom));
    parsed.collect()
}

/// A list that is not empty: an empty one could be meant as all or as none.
pub(super) fn some_of<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let all = all_of(deserializer)?;
    if all.is_empty() {
        return Err(D::Error::custom("a list must not be empty; leave it out"));
    }
    Ok(Some(all))
}

/// A span that is not zero, like `1m30s`.
pub(super) fn duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let duration = duration_or_zero(deserializer)?;
    if duration.is_some_and(|duration| duration.is_zero()) {
        return Err(D::Error::custom("a duration must be positive"));
    }
    Ok(duration)
}

/// A span like `1m30s`, or `0s`.
pub(super) fn duration_or_zero<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let GoDuration(duration) = parsed(deserializer)?;
    Ok(Some(duration))
}

/// Whether `field` looks like a misspelt `name`: it holds it, or up to two letters are wrong, missing
/// or too many.
pub(super) fn is_like(name: &str, field: &str) -> bool {
    let letters = field.chars().filter(|c| c.is_alphanumeric());
    let field: String = letters.flat_map(char::to_lowercase).collect();
    let name = name.to_lowercase();
    field.contains(&name) || distance(&name, &field) <= 2
}

/// How many letters must be changed, added or left out to make `a` of `b`, by Levenshtein.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, of_a) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, of_b) in b.chars().enumerate() {
            let changed = diagonal + usize::from(of_a != of_b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.chars().count()]
}
