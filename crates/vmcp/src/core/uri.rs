//! Which URIs have only one spelling.
//!
//! Limits know a resource by its URI as it was asked for. What a backend lists is asked for in its
//! words, or not at all; but of what only a template allows there are many spellings that a backend
//! may read as one. Those that RFC 3986 calls equivalent (section 6.2.2, and 6.2.3 for schemes
//! that are widely known) are served in their normal form alone. Others, such as the letters of a
//! file system that does not tell their case, are the backend's secret.

use reqwest::Url;

/// Whether `uri` is in normal form, has no empty segment in its path, no fragment, and nothing encoded
/// that a backend may decode into another path.
pub(super) fn is_normal(uri: &str) -> bool {
    // It takes away dot segments, default ports, the case of schemes and hosts, and encodes what
    // must be.
    Url::parse(uri).is_ok_and(|parsed| parsed.as_str() == uri && has_plain_parts(&parsed))
        && is_plain(uri)
}

fn has_plain_parts(uri: &Url) -> bool {
    let is_lower = |host: &str| !host.bytes().any(|b| b.is_ascii_uppercase());
    // Some servers take a parameter (`;x`) off a segment before they look at it.
    let name = |part: &str| {
        part.split(';')
            .next()
            .is_some_and(|name| [".", ".."].contains(&name))
    };
    let has_dots = |path: &str| path.split('/').any(name);
    !uri.path().contains("//")
        && !has_dots(uri.path())
        && uri.host_str().is_none_or(is_lower)
        && uri.query() != Some("")
        && uri.fragment().is_none()
}

/// Only characters that a URI may hold, and none encoded that needs not be or that must not.
fn is_plain(uri: &str) -> bool {
    let mut bytes = uri.bytes();
    let mut encoded = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = (bytes.next().and_then(digit)).zip(bytes.next().and_then(digit));
            let Some(byte) = digits.map(|(high, low)| high << 4 | low) else {
                return false;
            };
            if is_unreserved(byte) || is_of_paths(byte) {
                return false;
            }
            encoded.push(byte);
        } else if !is_unreserved(byte) && !b":/?#[]@!$&'()*+,;=".contains(&byte) {
            return false;
        }
    }
    // Else it is a longer form of another character, or none.
    std::str::from_utf8(&encoded).is_ok()
}

/// Backends decode what a template gives them, and some do so twice. Then these are parts of a path:
/// separators, an encoded `%`, and characters that end a text or are skipped.
const fn is_of_paths(byte: u8) -> bool {
    matches!(byte, b'/' | b'\\' | b'%') || byte.is_ascii_control()
}

/// RFC 3986, section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// The value of a digit as normal forms have it, in upper case.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_spellings_of_a_uri_are_not_normal() {
        for normal in [
            "file:///exports/all.csv",
            "file:///a%20b/%C3%BC",
            "file:///dir/",
            "day://monday",
            "db://tables/users?limit=10&sort=a",
            "https://example.com/",
            "https://example.com:8443/a/b",
            "note:today",
            "urn:isbn:0451450523",
        ] {
            assert!(is_normal(normal), "{normal}");
        }
        for other in [
            "file:///exports/./all.csv",
            "file:///exports/x/../all.csv",
            "file:///exports//all.csv",
            "file:////exports/all.csv",
            "file:///exports/%61ll.csv",
            "file:///exports/%2e/all.csv",
            "file:///a%c3%bc",
            "file:///a%2",
            "file:///a%zz",
            "file:///exports/all.csv?",
            "file:///exports/all.csv#x",
            "file:///exports/all.csv#",
            "file://localhost/exports/all.csv",
            "FILE:///exports/all.csv",
            "file:/exports/all.csv",
            "file:///exports\\all.csv",
            "file:///x%2F..%2Fexports%2Fall.csv",
            "file:///..%2Fall.csv",
            "file:///exports%2Fall.csv",
            "file:///exports%5Call.csv",
            "file:///exports/..%5Call.csv",
            "file:///exports/%252E%252E%252Fall.csv",
            "file:///exports%252Fall.csv",
            "file:///exports/%2e%2e/all.csv",
            "file:///exports/..;/all.csv",
            "file:///exports/.;a=b/all.csv",
            "file:///exports/all.csv%00",
            "file:///exports/%0Aall.csv",
            "file:///exports%C0%AFall.csv",
            "db://tables/users?file=..%2Fall.csv",
            "note:..%2Fall.csv",
            "file:///exports/all.csv ",
            "file:///exports/a\tll.csv",
            "file:///exports/\u{200b}all.csv",
            "day://x/./y",
            "day://x/../y",
            "day://Monday",
            "db:a/../b",
            "http://example.com:80/a",
            "http://example.com:/a",
            "http://example.com",
            "http://EXAMPLE.com/",
            "no uri",
            "",
        ] {
            assert!(!is_normal(other), "{other:?}");
        }
    }
}
