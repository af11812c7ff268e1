//! Fields that are written as text, in the form that `FromStr` reads.

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

/// A span that is not zero, like `1m30s`.
pub(super) fn duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let GoDuration(duration) = parsed(deserializer)?;
    if duration.is_zero() {
        return Err(D::Error::custom("a duration must be positive"));
    }
    Ok(Some(duration))
}
