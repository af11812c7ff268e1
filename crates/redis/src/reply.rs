//! The reply of `check.lua`, as values.

use redis::Value;
use toolgate_limit::{StoreError, Timestamp};

use crate::error::corrupt;

/// What `check.lua` says of one batch.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The time at which the batch was decided.
    pub(crate) time: Timestamp,
    /// For each check, what the script says of it.
    pub(crate) decisions: Vec<u8>,
    /// For each hash, the stored value of each field before the batch; none for what is no hash.
    pub(crate) values: Vec<Vec<Option<Vec<u8>>>>,
}

/// What the script says of a check that it has allowed.
pub(crate) const ALLOWED: u8 = b'1';

/// What it says of a check that touches a value which is no bucket.
pub(crate) const UNDECIDED: u8 = b'?';

/// Reads `reply`, which must hold as many values for each hash as `field_counts` says.
pub(crate) fn parse(
    reply: Value,
    field_counts: impl ExactSizeIterator<Item = usize>,
) -> Result<Reply, StoreError> {
    let malformed = || corrupt("the script's reply does not have its form");
    let Value::Array(parts) = reply else {
        return Err(malformed());
    };
    let mut parts = parts.into_iter();
    let time = time(parts.next(), parts.next()).ok_or_else(malformed)?;
    let Some(Value::BulkString(decisions)) = parts.next() else {
        return Err(malformed());
    };
    if parts.len() != field_counts.len() {
        return Err(malformed());
    }
    let values = parts.zip(field_counts).map(|(part, count)| {
        values(part)
            .filter(|values| values.len() == count || values.is_empty())
            .ok_or_else(malformed)
    });
    Ok(Reply {
        time,
        decisions,
        values: values.collect::<Result<_, _>>()?,
    })
}

/// The time in the two parts of a reply to `TIME`: seconds, and microseconds within the second.
pub(crate) fn time(seconds: Option<Value>, micros: Option<Value>) -> Option<Timestamp> {
    let number = |part: Option<Value>| match part {
        Some(Value::BulkString(digits)) => std::str::from_utf8(&digits).ok()?.parse().ok(),
        _ => None,
    };
    let (seconds, micros): (u64, u64) = (number(seconds)?, number(micros)?);
    Some(Timestamp::from_micros(
        seconds.checked_mul(1_000_000)?.checked_add(micros)?,
    ))
}

/// The values in a reply to `HMGET`.
pub(crate) fn values(part: Value) -> Option<Vec<Option<Vec<u8>>>> {
    let Value::Array(values) = part else {
        return None;
    };
    let value = |value| match value {
        Value::Nil => Some(None),
        Value::BulkString(bytes) => Some(Some(bytes)),
        _ => None,
    };
    values.into_iter().map(value).collect()
}
