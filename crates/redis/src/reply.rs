//! The reply of `check.lua`, as values.

use redis::Value;
use toolgate_limit::{StoreError, Timestamp};

use crate::{error::garbled, record};

/// What `check.lua` says of one batch.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The time at which the batch was decided.
    pub(crate) time: Timestamp,
    /// For each check, what the script says of it.
    pub(crate) decisions: Vec<u8>,
    /// The values of all buckets before the batch.
    pub(crate) before: Values,
}

/// What the script says of a check that it has allowed.
pub(crate) const ALLOWED: u8 = b'1';

/// What it says of a check that touches a value which is no bucket.
pub(crate) const UNDECIDED: u8 = b'?';

/// Values of buckets, one after the other.
#[derive(Debug)]
pub(crate) struct Values(Vec<u8>);

/// The value of one bucket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Before<'a> {
    /// There was none.
    None,
    /// It was no bucket.
    Broken,
    /// What [`record`] describes.
    Record(&'a [u8]),
}

impl Values {
    pub(crate) fn len(&self) -> usize {
        self.0.len() / record::LEN
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Before<'_>> {
        // By the version, which is neither in a record.
        self.0.chunks_exact(record::LEN).map(|value| match value {
            [0, ..] => Before::None,
            [255, ..] => Before::Broken,
            record => Before::Record(record),
        })
    }
}

impl TryFrom<Value> for Reply {
    type Error = StoreError;

    fn try_from(reply: Value) -> Result<Self, StoreError> {
        let malformed = || garbled("the script's reply does not have its form");
        let Value::Array(parts) = reply else {
            return Err(malformed());
        };
        let mut parts = parts.into_iter();
        let time = time(parts.next(), parts.next()).ok_or_else(malformed)?;
        match (parts.next(), parts.next()) {
            (Some(Value::BulkString(decisions)), Some(Value::BulkString(before)))
                if before.len() % record::LEN == 0 =>
            {
                Ok(Self {
                    time,
                    decisions,
                    before: Values(before),
                })
            }
            _ => Err(malformed()),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(before: &[u8]) -> Value {
        let text = |text: &[u8]| Value::BulkString(text.to_vec());
        Value::Array(vec![text(b"7"), text(b"5"), text(b"1?"), text(before)])
    }

    #[test]
    fn values_are_told_from_their_stand_ins() {
        let mut record = [0; record::LEN];
        record[0] = record::VERSION;
        let before = [[0; record::LEN], record, [255; record::LEN]].concat();
        let read = Reply::try_from(reply(&before)).expect("a reply");
        assert_eq!(read.time, Timestamp::from_micros(7_000_005));
        assert_eq!(read.decisions, b"1?");
        let values: Vec<_> = read.before.iter().collect();
        let expected = [Before::None, Before::Record(&record), Before::Broken];
        assert_eq!(values, expected);
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for wrong in [
            Value::Nil,
            Value::Array(Vec::new()),
            reply(&[0; record::LEN - 1]),
        ] {
            assert!(Reply::try_from(wrong.clone()).is_err(), "{wrong:?}");
        }
    }
}
