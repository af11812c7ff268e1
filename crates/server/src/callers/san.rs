//! Names in certificates.

use std::{fmt, str::FromStr};

use serde::Deserialize;

/// Which subject alternative names are meant: one DNS name, one URI, or all SPIFFE IDs below a path.
///
/// ```
/// use toolgate_server::SanPattern;
///
/// let team: SanPattern = "spiffe://cluster/ns/team-a/*".parse()?;
/// assert!(team.fits_uri("spiffe://cluster/ns/team-a/sa/gateway"));
/// assert!(!team.fits_uri("spiffe://cluster/ns/team-b/sa/gateway"));
/// let gateway: SanPattern = "gateway.team-a.svc".parse()?;
/// assert!(gateway.fits_dns("Gateway.team-a.svc"));
/// # Ok::<(), toolgate_server::InvalidSan>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SanPattern(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Dns(String),
    Uri(String),
    /// What comes before the `*`, with the slash.
    Below(String),
}

/// A text that is no [`SanPattern`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no callers; write a DNS name, a URI, or a SPIFFE ID that ends in /* as in \
     spiffe://cluster/ns/team-a/*"
)]
pub struct InvalidSan(String);

impl FromStr for SanPattern {
    type Err = InvalidSan;

    fn from_str(text: &str) -> Result<Self, InvalidSan> {
        let invalid = || InvalidSan(text.to_owned());
        let (exact, is_prefix) = match text.strip_suffix("/*") {
            Some(before) => (before, true),
            None => (text, false),
        };
        let printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if exact.is_empty() || exact.contains('*') || !printable(exact) {
            return Err(invalid());
        }
        let form = match (exact.split_once("://"), is_prefix) {
            // The trust domain is always named.
            (Some(("spiffe", path)), true) if is_path(path) => Form::Below(format!("{exact}/")),
            (Some((scheme, rest)), false) if !scheme.is_empty() && !rest.is_empty() => {
                Form::Uri(exact.to_owned())
            }
            (None, false) if !exact.contains(['/', ':', '@']) => Form::Dns(exact.to_owned()),
            _ => return Err(invalid()),
        };
        Ok(Self(form))
    }
}

impl TryFrom<String> for SanPattern {
    type Error = InvalidSan;

    fn try_from(text: String) -> Result<Self, InvalidSan> {
        text.parse()
    }
}

impl SanPattern {
    /// Whether the DNS name of a certificate is meant. A wildcard in a certificate is none here.
    pub fn fits_dns(&self, name: &str) -> bool {
        matches!(&self.0, Form::Dns(wanted) if wanted.eq_ignore_ascii_case(name))
    }

    /// Whether the URI of a certificate is meant.
    pub fn fits_uri(&self, uri: &str) -> bool {
        match &self.0 {
            Form::Dns(_) => false,
            Form::Uri(wanted) => wanted == uri,
            Form::Below(prefix) => uri.strip_prefix(prefix.as_str()).is_some_and(is_path),
        }
    }
}

/// Whether each segment names something. SPIFFE IDs have no empty, `.` or `..` segments; a
/// certificate that has one anyway must not climb out of its prefix.
fn is_path(path: &str) -> bool {
    path.split('/')
        .all(|segment| !matches!(segment, "" | "." | ".."))
}

impl fmt::Display for SanPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Dns(name) | Form::Uri(name) => f.write_str(name),
            Form::Below(prefix) => write!(f, "{prefix}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_reads_as_it_is_written() {
        for text in [
            "gateway.team-a.svc",
            "https://gateway.example.com/a",
            "spiffe://cluster/ns/team-a/sa/gateway",
            "spiffe://cluster/*",
        ] {
            let pattern: SanPattern = text.parse().expect(text);
            assert_eq!(pattern.to_string(), text);
        }
        for text in [
            "",
            "*",
            "*.team-a.svc",
            "spiffe://*",
            "spiffe:///*",
            "spiffe://cluster/team-*",
            "spiffe://cluster/*/gateway",
            "spiffe://cluster/../*",
            "https://example.com/*",
            "gateway.svc/*",
            "gate way",
            "team-a/*",
        ] {
            assert!(text.parse::<SanPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_prefix_ends_where_a_segment_does_and_nothing_climbs_out_of_it() {
        let team: SanPattern = "spiffe://c/ns/a/*".parse().expect("a pattern");
        for (uri, fits) in [
            ("spiffe://c/ns/a/sa/x", true),
            ("spiffe://c/ns/a/x", true),
            ("spiffe://c/ns/a", false),
            ("spiffe://c/ns/a/", false),
            ("spiffe://c/ns/ab/x", false),
            ("spiffe://c/ns/a/../b/x", false),
            ("spiffe://c/ns/a//x", false),
            ("https://c/ns/a/x", false),
        ] {
            assert_eq!(team.fits_uri(uri), fits, "{uri}");
            assert!(!team.fits_dns(uri));
        }
    }

    #[test]
    fn an_exact_name_fits_itself_alone() {
        let uri: SanPattern = "spiffe://c/gateway".parse().expect("a URI");
        assert!(uri.fits_uri("spiffe://c/gateway"));
        assert!(!uri.fits_uri("spiffe://c/gateway/x"));
        assert!(!uri.fits_dns("spiffe://c/gateway"));
        let dns: SanPattern = "gateway.svc".parse().expect("a name");
        assert!(dns.fits_dns("GATEWAY.svc"));
        assert!(!dns.fits_dns("x.gateway.svc"));
        assert!(!dns.fits_uri("gateway.svc"));
    }
}
