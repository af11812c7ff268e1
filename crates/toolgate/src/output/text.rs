//! Values of the API as people read them.

use std::time::Duration;

use toolgate_limit::GoDuration;
use toolgate_proto::pb;

/// Where there is nothing to show.
pub(crate) const NONE: &str = "-";

/// `global`, `tool x global`, `per user`, `tool x per user`; without a name `tools per user`.
pub(crate) fn limit(limit: Option<&pb::Limit>) -> String {
    let Some(limit) = limit else {
        return NONE.to_owned();
    };
    let scope = match limit.scope() {
        pb::Scope::Global => "global",
        pb::Scope::PerUser => "per user",
        pb::Scope::Unspecified => "of unknown scope",
    };
    match operation(limit) {
        None => scope.to_owned(),
        Some((kind, "")) => format!("{kind}s {scope}"),
        Some((kind, name)) => format!("{kind} {} {scope}", printable(name)),
    }
}

/// `server`, `tool x`.
pub(crate) fn target(limit: &pb::Limit) -> String {
    match operation(limit) {
        None => "server".to_owned(),
        Some((kind, name)) => format!("{kind} {}", printable(name)),
    }
}

fn operation(limit: &pb::Limit) -> Option<(&'static str, &str)> {
    use pb::limit::Operation;
    Some(match limit.operation.as_ref()? {
        Operation::Tool(name) => ("tool", name),
        Operation::Prompt(name) => ("prompt", name),
        Operation::Resource(uri) => ("resource", uri),
    })
}

/// `10 per 1m`.
pub(super) fn quota(limit: &pb::PolicyLimit) -> String {
    format!("{} per {}", limit.capacity, period(limit.refill_period))
}

/// A setting, exact.
pub(super) fn period(period: Option<prost_types::Duration>) -> String {
    period.map_or_else(|| NONE.to_owned(), |period| shown(period, |exact| exact))
}

/// A wait, rounded up to the tenth of a second that a reader wants, or the millisecond below one;
/// never down, so that whoever waits as told has waited enough. As denials say it.
pub(super) fn wait(wait: prost_types::Duration) -> String {
    shown(wait, |wait| {
        let step = if wait < Duration::from_secs(1) {
            1_000_000
        } else {
            100_000_000
        };
        let over = wait.subsec_nanos() % step;
        let missing = if over == 0 { 0 } else { step - over };
        wait.saturating_add(Duration::from_nanos(missing.into()))
    })
}

/// In Go's form, or as it came if it is out of range.
fn shown(duration: prost_types::Duration, round: impl Fn(Duration) -> Duration) -> String {
    Duration::try_from(duration).map_or_else(
        |_| duration.to_string(),
        |duration| GoDuration(round(duration)).to_string(),
    )
}

/// RFC 3339, to the second.
pub(super) fn timestamp(at: prost_types::Timestamp) -> String {
    prost_types::Timestamp { nanos: 0, ..at }.to_string()
}

/// `1 bucket`, `2 buckets`.
pub(super) fn count(number: usize, of: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {of}{plural}")
}

/// On one line, and without characters that a terminal would obey.
pub(crate) fn printable(text: &str) -> String {
    escape(text, is_hidden)
}

/// The same over several lines.
pub(super) fn printable_lines(text: &str) -> String {
    escape(text, |c| is_hidden(c) && c != '\n')
}

/// Controls, and characters that show nothing or turn around what follows: joiners, marks and
/// overrides of direction (Unicode's `Bidi_Control`), and the byte order mark.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn escape(text: &str, hidden: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if hidden(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duration(seconds: i64, nanos: i32) -> prost_types::Duration {
        prost_types::Duration { seconds, nanos }
    }

    #[test]
    fn a_wait_is_rounded_up_to_what_a_reader_wants() {
        for (seconds, nanos, expected) in [
            (0, 0, "0s"),
            (0, 1, "1ms"),
            (0, 350_000_001, "351ms"),
            (0, 999_000_001, "1s"),
            (5, 900_000_000, "5.9s"),
            (5, 900_000_001, "6s"),
            (59, 999_999_999, "1m"),
            (2_591_999, 1, "719h59m59.1s"),
            (-1, 0, "-1s"),
        ] {
            assert_eq!(wait(duration(seconds, nanos)), expected);
        }
    }

    #[test]
    fn a_setting_is_shown_as_it_is() {
        assert_eq!(period(Some(duration(5, 912_345_678))), "5.912345678s");
        assert_eq!(period(None), "-");
    }

    #[test]
    fn a_timestamp_is_rfc_3339_to_the_second() {
        let at = prost_types::Timestamp {
            seconds: 1_767_323_045,
            nanos: 678_000_000,
        };
        assert_eq!(timestamp(at), "2026-01-02T03:04:05Z");
    }

    #[test]
    fn names_cannot_drive_the_terminal() {
        assert_eq!(printable("a\x1b[31m\nb"), "a\\u{1b}[31m\\nb");
        assert_eq!(printable_lines("a\x1b\nb ü 🦀"), "a\\u{1b}\nb ü 🦀");
        assert_eq!(printable("a\u{202e}b\u{200b}"), "a\\u{202e}b\\u{200b}");
    }
}
