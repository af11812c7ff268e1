//! The hosts that this server is called by, and the origins of pages that may call it.

use std::str::FromStr;

use axum::http::uri::Authority;

/// A host that `Host` may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedHost {
    /// Any, written `*`.
    Any,
    /// One host, on one port or on any.
    Named {
        /// In lower case; an IPv6 address without brackets.
        host: String,
        /// None for any.
        port: Option<u16>,
    },
}

/// Why a text is no [`AllowedHost`].
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no host: write name, name:port, [::1]:port, or * for any")]
pub struct InvalidHost(String);

impl AllowedHost {
    /// `host` on any port.
    pub fn named(host: &str) -> Self {
        let host = bare(host);
        Self::Named { host, port: None }
    }

    pub(super) fn is(&self, authority: &Authority) -> bool {
        match self {
            Self::Any => true,
            Self::Named { host, port } => {
                let is_port = port.is_none_or(|port| authority.port_u16() == Some(port));
                *host == bare(authority.host()) && is_port
            }
        }
    }
}

impl FromStr for AllowedHost {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        if text == "*" {
            return Ok(Self::Any);
        }
        // The address alone, as it may be written.
        if text.parse::<std::net::Ipv6Addr>().is_ok() {
            return Ok(Self::named(text));
        }
        let authority = authority(text).ok_or_else(|| InvalidHost(text.to_owned()))?;
        Ok(Self::Named {
            host: bare(authority.host()),
            port: authority.port_u16(),
        })
    }
}

/// A host and perhaps a port, as in `Host`. It has no user, and no `*`.
pub(super) fn authority(text: &str) -> Option<Authority> {
    let authority = text.parse::<Authority>().ok()?;
    let host = authority.host();
    let is_host = !host.is_empty() && !text.contains(['@', '*']);
    let rest = text.get(host.len()..)?;
    let is_port = rest.is_empty() || (rest.len() > 1 && authority.port_u16().is_some());
    (is_host && is_port).then_some(authority)
}

/// As it is compared.
pub(super) fn bare(host: &str) -> String {
    host.trim_matches(['[', ']']).to_ascii_lowercase()
}

/// The origin of a page, as a browser writes it into `Origin`: a scheme, a host, and a port that is
/// not the scheme's own (RFC 6454, section 6.2). Never `null`, which pages of many origins are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebOrigin(String);

/// Why a text is no [`WebOrigin`].
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no origin: write scheme://host or scheme://host:port, without a path")]
pub struct InvalidOrigin(String);

impl FromStr for WebOrigin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let invalid = || InvalidOrigin(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(invalid)?;
        let is_letter = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
        if !is_scheme || !scheme.chars().all(is_letter) {
            return Err(invalid());
        }
        let authority = authority(rest).ok_or_else(invalid)?;
        let scheme = scheme.to_ascii_lowercase();
        let host = authority.host().to_ascii_lowercase();
        let own = own_port(&scheme);
        let port = authority.port_u16().filter(|port| Some(*port) != own);
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        Ok(Self(format!("{scheme}://{host}{port}")))
    }
}

/// The port of a scheme where none is written.
pub(super) fn own_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_a_port_is_that_host_on_any() {
        let is = |allowed: &str, host: &str| {
            let allowed: AllowedHost = allowed.parse().unwrap();
            allowed.is(&authority(host).unwrap())
        };
        assert!(is("a.example", "A.example") && is("a.example", "a.example:81"));
        assert!(is("a.example:81", "a.example:81") && !is("a.example:81", "a.example"));
        assert!(is("::1", "[::1]:4483") && is("[::1]:4483", "[::1]:4483"));
        assert!(is("*", "b.example") && !is("a.example", "b.a.example"));
        for wrong in ["", " ", "http://a", "a/b", "a:", "a:x", "u@a", "*.a", ":80"] {
            assert!(wrong.parse::<AllowedHost>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_origin_is_compared_as_a_browser_writes_it() {
        let origin = |text: &str| text.parse::<WebOrigin>().unwrap();
        assert_eq!(origin("https://A.example:443"), origin("https://a.example"));
        assert_eq!(origin("http://[::1]:80"), origin("http://[::1]"));
        assert_ne!(origin("http://a.example"), origin("https://a.example"));
        assert_ne!(origin("http://a:81"), origin("http://a"));
        origin("vscode-webview://1d0b9e");
        for wrong in [
            "null",
            "",
            "*",
            "a.example",
            "https://",
            "https://a/",
            "https://a/x",
            "https://u@a",
            "https://*.a",
            "https://a:",
            "://a",
            "https://a b",
            "https://a#x",
        ] {
            assert!(wrong.parse::<WebOrigin>().is_err(), "{wrong:?}");
        }
    }
}
