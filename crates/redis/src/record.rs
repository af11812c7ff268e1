//! How a bucket lies in Redis: one field of a hash, 27 bytes, all integers little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | capacity in tokens |
//! | 4..10 | refill period in microseconds |
//! | 10..14 | whole tokens |
//! | 14..20 | what is filled of the next token, in parts of 1 / refill period |
//! | 20..27 | time of this state, in microseconds since the Unix epoch |
//!
//! The quota is kept with the state so that a changed limit starts from what the old one had
//! filled (docs/adr/002). `check.lua` writes and reads the same.

use std::time::Duration;

use toolgate_limit::{Bucket, Quota, Timestamp};

/// Length of a record, in bytes.
pub(crate) const LEN: usize = 27;

/// Times from here on, the year 2255, are not exact in Lua.
const MAX_EXACT: u64 = 1 << 53;

/// The bucket in `bytes`; none if they are no record.
pub(crate) fn decode(bytes: &[u8]) -> Option<Bucket> {
    let bytes: &[u8; LEN] = bytes.try_into().ok()?;
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
        10, 0, 0, 0, // 10 tokens
        0x00, 0x87, 0x93, 0x03, 0, 0, // per 60,000,000 us
        3, 0, 0, 0, // 3 left
        5, 0, 0, 0, 0, 0, // and 5 parts
        1, 2, 3, 4, 5, 6, 0, // as of 0x060504030201
    ];

    #[test]
    fn a_record_decodes_to_its_bucket() {
        let bucket = decode(&RECORD).expect("a record");
        let quota = Quota::new(10, Duration::from_mins(1)).expect("valid");
        let as_of = Timestamp::from_micros(0x0605_0403_0201);
        assert_eq!(Some(bucket), Bucket::restore(quota, 3, 5, as_of));
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let with = |at: usize, byte| {
            let mut record = RECORD;
            record[at] = byte;
            record
        };
        for (bytes, why) in [
            (&RECORD[..26], "too short"),
            (&[&RECORD[..], &[0]].concat()[..], "too long"),
            (&with(0, 0)[..], "no capacity"),
            (&with(9, 0xff)[..], "a period over 366 days"),
            (&with(10, 11)[..], "more tokens than the capacity"),
            (&with(19, 0xff)[..], "more than one token in parts"),
            (&with(26, 0x20)[..], "a time after 2255"),
        ] {
            assert_eq!(decode(bytes), None, "{why}");
        }
    }
}
