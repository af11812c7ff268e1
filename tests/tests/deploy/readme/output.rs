//! Whether a command says what the page shows.

/// Whether `actual` is what `shown` shows: `…` stands for anything, any duration for any other, and
/// spaces for as many as a table needs.
pub(super) fn fits(shown: &str, actual: &str) -> bool {
    let (shown, actual) = (plain(shown), plain(actual));
    let mut pieces = shown.split('…');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = actual.strip_prefix(first) else {
        return false;
    };
    let Some(last) = pieces.next_back() else {
        return rest.is_empty();
    };
    for piece in pieces {
        match rest.split_once(piece) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Without what differs from run to run, and lines that only draw.
fn plain(text: &str) -> String {
    // A word of its own, so that the one that it stands at is known.
    let text = text.replace('…', " … ");
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| line.is_empty() || line.chars().any(|c| c != '─'));
    let word = |word: &str| if is_duration(word) { "~" } else { word }.to_owned();
    let lines = lines.map(|line| {
        line.split_whitespace()
            .map(word)
            .collect::<Vec<_>>()
            .join(" ")
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    text.replace(" …", "…").replace("… ", "…").trim().to_owned()
}

fn is_duration(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit())
        && word.ends_with(['s', 'm', 'h', 'd'])
        && word
            .chars()
            .all(|c| c.is_ascii_digit() || ".smhdu".contains(c))
}

#[test]
fn what_differs_from_run_to_run_does_not_count() {
    for (shown, actual) in [
        ("a  b", "a b\n"),
        ("denied  20s", "denied 19.98s"),
        ("NAME AGE\nx …", "NAME AGE\nx 3s"),
        (
            "…no duration, but 5ms…",
            "error: x is no duration, but 5ms is",
        ),
        ("…", ""),
        ("a\n───\nb", "a\n─────\nb"),
    ] {
        assert!(fits(shown, actual), "{shown} {actual}");
    }
    for (shown, actual) in [
        ("a", "b"),
        ("a", "a\nb"),
        ("a…", "ba"),
        ("…a", "ab"),
        ("x…y…z", "xz"),
        ("3 allowed", "4 allowed"),
    ] {
        assert!(!fits(shown, actual), "{shown} {actual}");
    }
}
