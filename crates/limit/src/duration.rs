//! Durations as Go writes them, which manifests and messages use: `1m`, `1h30m`, `500ms`.

use std::{fmt, str::FromStr, time::Duration};

/// A duration in the text form of Go's `time.ParseDuration`.
///
/// It reads all that Go reads but negative values; it writes without Go's zero parts (`1m`, where
/// Go writes `1m0s`).
///
/// ```
/// use std::time::Duration;
/// use toolgate_limit::GoDuration;
///
/// let period: GoDuration = "1m30s".parse()?;
/// assert_eq!(period.0, Duration::from_secs(90));
/// assert_eq!(period.to_string(), "1m30s");
/// # Ok::<(), toolgate_limit::DurationError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(pub Duration);

/// Why a text is no [`GoDuration`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing to read.
    #[error("a duration must not be empty; write it like 1m, 1h30m or 500ms")]
    Empty,
    /// A minus sign.
    #[error("a duration must be positive, not {0:?}")]
    Negative(String),
    /// A number without its unit.
    #[error("{0:?} has a number without a unit; units are ns, us, ms, s, m and h")]
    MissingUnit(String),
    /// A unit that Go does not know.
    #[error("{text:?} has the unknown unit {unit:?}; units are ns, us, ms, s, m and h")]
    UnknownUnit {
        /// The whole text.
        text: String,
        /// The unit as written.
        unit: String,
    },
    /// Anything else.
    #[error("{0:?} is no duration; write it like 1m, 1h30m or 500ms")]
    Malformed(String),
    /// More than fits in 64 bits of nanoseconds, Go's own bound.
    #[error("{0:?} is longer than a duration can be")]
    TooLong(String),
}

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000), // U+00B5, the micro sign
    ("μs", 1_000), // U+03BC, the Greek letter
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
];

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        if text.is_empty() {
            return Err(DurationError::Empty);
        }
        if text.starts_with('-') {
            return Err(DurationError::Negative(text.to_owned()));
        }
        let mut rest = text.strip_prefix('+').unwrap_or(text);
        if rest == "0" {
            return Ok(Self(Duration::ZERO));
        }
        if rest.is_empty() {
            return Err(DurationError::Malformed(text.to_owned()));
        }
        let mut nanos = 0_u64;
        while !rest.is_empty() {
            let number_len = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(rest.len());
            let (number, after) = rest.split_at(number_len);
            let unit_len = after
                .find(|c: char| c.is_ascii_digit() || c == '.')
                .unwrap_or(after.len());
            let (unit, after) = after.split_at(unit_len);
            let part = part_nanos(text, number, unit)?;
            nanos = nanos
                .checked_add(part)
                .filter(|&nanos| i64::try_from(nanos).is_ok())
                .ok_or_else(|| DurationError::TooLong(text.to_owned()))?;
            rest = after;
        }
        Ok(Self(Duration::from_nanos(nanos)))
    }
}

/// One `number unit` of a duration, in nanoseconds; what lies below one is cut off, as Go does.
fn part_nanos(text: &str, number: &str, unit: &str) -> Result<u64, DurationError> {
    let malformed = || DurationError::Malformed(text.to_owned());
    let too_long = || DurationError::TooLong(text.to_owned());
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && decimals.is_empty() || decimals.contains('.') {
        return Err(malformed());
    }
    if unit.is_empty() {
        return Err(DurationError::MissingUnit(text.to_owned()));
    }
    let &(_, scale) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(|| DurationError::UnknownUnit {
            text: text.to_owned(),
            unit: unit.to_owned(),
        })?;
    let whole: u64 = match whole {
        "" => 0,
        digits => digits.parse().map_err(|_| too_long())?,
    };
    let mut nanos = whole.checked_mul(scale).ok_or_else(too_long)?;
    let mut digit_nanos = scale;
    for digit in decimals.bytes() {
        // Nanoseconds per unit have at most 12 decimal digits; those after add nothing.
        let next = u64::from(digit - b'0') * digit_nanos / 10;
        digit_nanos /= 10;
        nanos = nanos.checked_add(next).ok_or_else(too_long)?;
    }
    Ok(nanos)
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        let mut text = Backward::default();
        if seconds == 0 && nanos > 0 {
            let (unit, scale, width) = match nanos {
                1_000_000.. => ("ms", 1_000_000, 6),
                1_000.. => ("us", 1_000, 3),
                _ => ("ns", 1, 0),
            };
            text.put(unit);
            text.put_fraction(nanos % scale, width);
            text.put_number((nanos / scale).into());
        } else {
            let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
            if seconds > 0 || nanos > 0 || hours == 0 && minutes == 0 {
                text.put("s");
                text.put_fraction(nanos, 9);
                text.put_number(seconds);
            }
            if minutes > 0 {
                text.put("m");
                text.put_number(minutes);
            }
            if hours > 0 {
                text.put("h");
                text.put_number(hours);
            }
        }
        f.write_str(text.as_str())
    }
}

/// Text that is written from its end to its beginning, as the digits of numbers come. Each denial
/// says a duration; the formatter of the standard library takes five times as long for it.
struct Backward {
    /// The longest is `5124095576030431h59m59.999999999s`.
    bytes: [u8; 40],
    begin: usize,
}

impl Default for Backward {
    fn default() -> Self {
        Self {
            bytes: [0; 40],
            begin: 40,
        }
    }
}

impl Backward {
    fn put(&mut self, ascii: &str) {
        self.begin -= ascii.len();
        self.bytes[self.begin..][..ascii.len()].copy_from_slice(ascii.as_bytes());
    }

    fn put_digit(&mut self, number: u64) {
        self.begin -= 1;
        self.bytes[self.begin] = b'0' + u8::try_from(number % 10).unwrap_or_default();
    }

    fn put_number(&mut self, mut number: u64) {
        loop {
            self.put_digit(number);
            number /= 10;
            if number == 0 {
                break;
            }
        }
    }

    /// A point and `fraction` in `width` digits, without zeros at the end; nothing if it is zero.
    fn put_fraction(&mut self, mut fraction: u32, mut width: u32) {
        if fraction == 0 {
            return;
        }
        while fraction.is_multiple_of(10) {
            fraction /= 10;
            width -= 1;
        }
        for _ in 0..width {
            self.put_digit(fraction.into());
            fraction /= 10;
        }
        self.put(".");
    }

    fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[self.begin..]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(text: &str) -> Result<u128, DurationError> {
        text.parse::<GoDuration>().map(|d| d.0.as_nanos())
    }

    #[test]
    fn reads_what_go_reads() {
        for (text, expected) in [
            ("0", 0),
            ("0s", 0),
            ("1ns", 1),
            ("+5s", 5_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("1m0s", 60_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("500ms", 500_000_000),
            ("2us", 2_000),
            ("2µs", 2_000),
            ("2μs", 2_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("0.100000000000000000000h", 360_000_000_000),
            ("39h9m14.425s", 140_954_425_000_000),
            ("2540400h10m10s", 9_145_440_610_000_000_000),
        ] {
            assert_eq!(nanos(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_positive_duration_and_says_why() {
        for (text, part) in [
            ("", "must not be empty"),
            ("-1m", "must be positive"),
            ("60", "without a unit"),
            ("1m30", "without a unit"),
            ("1d", "unknown unit \"d\""),
            ("1 m", "unknown unit \" m\""),
            ("m", "no duration"),
            (".s", "no duration"),
            ("1.2.3s", "no duration"),
            ("+", "no duration"),
            ("9999999999h", "longer than"),
            ("2562048h", "longer than"),
        ] {
            let error = nanos(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn writes_the_shortest_text_that_reads_the_same() {
        for text in [
            "0s",
            "1ns",
            "1.5us",
            "500ms",
            "1s",
            "5.9s",
            "1m",
            "1m30s",
            "1h",
            "1h1s",
            "720h",
            "1h30m0.5s",
            "999.999999ms",
            "1.000000001s",
        ] {
            let duration: GoDuration = text.parse().expect(text);
            assert_eq!(duration.to_string(), text);
        }
    }

    #[test]
    fn writes_even_the_longest() {
        let longest = GoDuration(Duration::MAX).to_string();
        assert_eq!(longest, "5124095576030431h15.999999999s");
    }
}
