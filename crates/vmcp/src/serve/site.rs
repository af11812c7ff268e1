//! The hosts that this server is called by, and the origins of pages that may call it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use axum::http::uri::Authority;
use toolgate_net::Host;

/// A host that `Host` may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedHost {
    /// Any, written `*`.
    Any,
    /// One host, on one port or on any.
    Named {
        /// Which.
        host: Host,
        /// None for any.
        port: Option<u16>,
    },
}

/// Why a text is no [`AllowedHost`].
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no host: write name, name:port, [::1]:port, or * for any")]
pub struct InvalidHost(String);

impl AllowedHost {
    /// The hosts that a server on `address` is called by, if nothing else is configured. Only a server
    /// that this machine alone can reach knows them: others are called by names of Services, of proxies
    /// and by addresses.
    pub fn of_listener(address: IpAddr) -> Vec<Self> {
        if !address.is_loopback() {
            return vec![Self::Any];
        }
        let addresses = [
            Ipv4Addr::LOCALHOST.into(),
            Ipv6Addr::LOCALHOST.into(),
            address,
        ];
        let addresses = addresses.map(Host::from).into_iter();
        addresses
            .chain([Host::localhost()])
            .map(|host| Self::Named { host, port: None })
            .collect()
    }

    /// Whether `authority` is this host. Clients leave the port of their scheme out (RFC 9110, section
    /// 4.2), and what stands before this server may speak either.
    pub(super) fn is(&self, authority: &Authority) -> bool {
        match self {
            Self::Any => true,
            Self::Named { host, port } => {
                let is_port = port.is_none_or(|port| match authority.port_u16() {
                    Some(written) => written == port,
                    None => [own_port("http"), own_port("https")].contains(&Some(port)),
                });
                *host == Host::of(authority.host()) && is_port
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
        if let Ok(address) = text.parse::<IpAddr>() {
            let host = address.into();
            return Ok(Self::Named { host, port: None });
        }
        let authority = authority(text).ok_or_else(|| InvalidHost(text.to_owned()))?;
        Ok(Self::Named {
            host: Host::of(authority.host()),
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
        let host = Host::of(authority.host());
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
        assert!(!is("::1", "[::2]:4483"));
        assert!(is("*", "b.example") && !is("a.example", "b.a.example"));
        for wrong in ["", " ", "http://a", "a/b", "a:", "a:x", "u@a", "*.a", ":80"] {
            assert!(wrong.parse::<AllowedHost>().is_err(), "{wrong:?}");
        }
    }

    /// Honest clients were refused: a browser at `https://a.example` sends no `:443`.
    #[test]
    fn a_host_is_compared_as_what_it_is_and_not_as_a_text() {
        let is = |allowed: &str, host: &str| {
            let allowed: AllowedHost = allowed.parse().unwrap();
            allowed.is(&authority(host).unwrap())
        };
        for (allowed, host) in [
            ("a.example:443", "a.example"),
            ("a.example:80", "A.example"),
            ("a.example", "a.example."),
            ("a.example.:81", "a.example:81"),
            ("0:0:0:0:0:0:0:1", "[::1]:4483"),
            ("[2001:db8::0:1]:443", "[2001:DB8:0::1]"),
            ("127.0.0.1", "[::ffff:127.0.0.1]:1"),
        ] {
            assert!(is(allowed, host), "{allowed} {host}");
        }
        for (allowed, host) in [
            ("a.example:8443", "a.example"),
            ("a.example:443", "a.example:80"),
            ("a.example", "a.example.."),
            ("::1", "[::2]"),
        ] {
            assert!(!is(allowed, host), "{allowed} {host}");
        }
    }

    #[test]
    fn an_origin_is_compared_as_a_browser_writes_it() {
        let origin = |text: &str| text.parse::<WebOrigin>().unwrap();
        assert_eq!(origin("https://A.example:443"), origin("https://a.example"));
        assert_eq!(origin("http://[::1]:80"), origin("http://[::1]"));
        assert_eq!(origin("http://[0:0::1]"), origin("http://[::1]"));
        assert_eq!(origin("https://a.example."), origin("https://a.example"));
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
