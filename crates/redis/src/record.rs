//! How a bucket lies in Redis: one field of a hash, 28 bytes, all integers little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 0 | version of the format: 1 |
//! | 1..5 | capacity in tokens |
//! | 5..11 | refill period in microseconds |
//! | 11..15 | whole tokens |
//! | 15..21 | what is filled of the next token, in parts of 1 / refill period |
//! | 21..28 | time of this state, in microseconds since the Unix epoch |
//!
//! The quota is kept with the state so that a changed limit starts from what the old one had
//! filled (docs/adr/002). `check.lua` writes and reads the same.
//!
//! A later version, up to 254, begins with the same 28 bytes but for its number, and may add more: this
//! release reads what it knows, and writes version 1 (docs/adr/019). Builds from before the first
//! release wrote bytes 1 to 28 alone, and are read too.

use std::time::Duration;

use toolgate_limit::{Bucket, Quota, Timestamp};

/// Length of a record, in bytes.
pub(crate) const LEN: usize = 28;

/// What this release writes.
pub(crate) const VERSION: u8 = 1;

/// 0 and 255 are no versions: with them `check.lua` tells that there is no record.
const MAX_VERSION: u8 = 254;

/// Times from here on, the year 2255, are not exact in Lua.
const MAX_EXACT: u64 = 1 << 53;

/// The bucket in `bytes`; none if they are no record.
pub(crate) fn decode(bytes: &[u8]) -> Option<Bucket> {
    const LATER: u8 = VERSION + 1;
    match bytes {
        unnumbered if bytes.len() == LEN - 1 => state(unnumbered),
        [VERSION, state_of_1 @ ..] if bytes.len() == LEN => state(state_of_1),
        [LATER..=MAX_VERSION, rest @ ..] => state(rest.get(..LEN - 1)?),
        _ => None,
    }
}

/// The bucket in `bytes`, which are a record from its second byte on.
fn state(bytes: &[u8]) -> Option<Bucket> {
    let bytes: &[u8; LEN - 1] = bytes.try_into().ok()?;
    let period = Duration::from_micros(uint(&bytes[4..10]));
    let quota = Quota::new(narrow(&bytes[0..4])?, period).ok()?;
    let as_of = uint(&bytes[20..27]);
    if as_of >= MAX_EXACT {
        return None;
    }
    let as_of = Timestamp::from_micros(as_of);
    Bucket::restore(quota, narrow(&bytes[10..14])?, uint(&bytes[14..20]), as_of)
}

fn uint(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, &byte| value << 8 | u64::from(byte))
}

fn narrow(bytes: &[u8]) -> Option<u32> {
    u32::try_from(uint(bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: [u8; LEN] = [
        1, // version
        10, 0, 0, 0, // 10 tokens
        0x00, 0x87, 0x93, 0x03, 0, 0, // per 60,000,000 us
        3, 0, 0, 0, // 3 left
        5, 0, 0, 0, 0, 0, // and 5 parts
        1, 2, 3, 4, 5, 6, 0, // as of 0x060504030201
    ];

    fn with(at: usize, byte: u8) -> [u8; LEN] {
        let mut record = RECORD;
        record[at] = byte;
        record
    }

    #[test]
    fn a_record_decodes_to_its_bucket() {
        let bucket = decode(&RECORD).expect("a record");
        let quota = Quota::new(10, Duration::from_mins(1)).expect("valid");
        let as_of = Timestamp::from_micros(0x0605_0403_0201);
        assert_eq!(Some(bucket), Bucket::restore(quota, 3, 5, as_of));
    }

    #[test]
    fn what_other_releases_write_is_read_as_far_as_it_is_known() {
        let bucket = decode(&RECORD);
        assert_eq!(decode(&RECORD[1..]), bucket, "before there were versions");
        for version in [2, 254] {
            let record = with(0, version);
            assert_eq!(decode(&record), bucket);
            assert_eq!(decode(&[&record[..], &[7; 9]].concat()), bucket);
            assert_eq!(decode(&record[..LEN - 2]), None, "shorter than version 1");
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for (bytes, why) in [
            (&[][..], "nothing"),
            (&RECORD[..LEN - 2], "too short"),
            (&[&RECORD[..], &[0]].concat(), "too long for its version"),
            (&with(0, 0), "no version"),
            (&with(0, 255), "no version"),
            (&with(1, 0), "no capacity"),
            (&with(10, 0xff), "a period over 366 days"),
            (&with(11, 11), "more tokens than the capacity"),
            (&with(20, 0xff), "more than one token in parts"),
            (&with(27, 0x20), "a time after 2255"),
        ] {
            assert_eq!(decode(bytes), None, "{why}");
        }
    }
}
