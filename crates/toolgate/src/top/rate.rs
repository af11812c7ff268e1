//! Rates as people read them.

/// In at most seven characters: `0`, `0.25`, `9.5`, `120`, `12,345`, `1.2M`.
pub(super) fn rate(rate: f64) -> String {
    match rate {
        rate if rate < 0.005 => "0".to_owned(),
        rate if rate < 0.995 => format!("{rate:.2}"),
        rate if rate < 99.95 => format!("{rate:.1}"),
        rate if rate < 999_999.5 => thousands(rate),
        rate => format!("{:.1}M", rate / 1e6),
    }
}

fn thousands(rate: f64) -> String {
    let digits = format!("{rate:.0}");
    match digits.len().checked_sub(3) {
        Some(point) if point > 0 => format!("{},{}", &digits[..point], &digits[point..]),
        _ => digits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_as_short_as_its_reader_needs() {
        for (number, text) in [
            (0.0, "0"),
            (0.004, "0"),
            (0.1, "0.10"),
            (0.996, "1.0"),
            (9.54, "9.5"),
            (99.94, "99.9"),
            (99.96, "100"),
            (999.4, "999"),
            (999.6, "1,000"),
            (12_345.6, "12,346"),
            (999_999.4, "999,999"),
            (1_234_567.0, "1.2M"),
        ] {
            assert_eq!(rate(number), text);
        }
    }
}
