//! Hosts as they are named in requests.

use std::{fmt, net::IpAddr};

/// A host, as it is compared: an address however it is written, or a name in lower case without the
/// dot of the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address; IPv4 that is mapped into IPv6 is IPv4.
    Address(IpAddr),
    /// A name.
    Name(String),
}

impl Host {
    /// Of the part of an authority before its port.
    pub fn of(host: &str) -> Self {
        let bare = host.trim_matches(['[', ']']);
        let address = bare.parse::<IpAddr>();
        address.map_or_else(
            |_| Self::Name(bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase()),
            |address| Self::Address(address.to_canonical()),
        )
    }

    /// The name that a machine has for itself.
    pub fn localhost() -> Self {
        Self::Name("localhost".to_owned())
    }

    /// Whether it is no name.
    pub const fn is_address(&self) -> bool {
        matches!(self, Self::Address(_))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self::Address(address.to_canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_is_written_in_many_ways() {
        for (one, other) in [
            ("A.example", "a.example"),
            ("a.example.", "a.example"),
            ("[0:0::1]", "::1"),
            ("[2001:DB8::1]", "[2001:db8:0::1]"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
        ] {
            assert_eq!(Host::of(one), Host::of(other));
        }
        assert_ne!(Host::of("a.example.."), Host::of("a.example"));
        assert!(Host::of("[::1]").is_address() && !Host::of("1.example").is_address());
        assert_eq!(Host::of("::1").to_string(), "[::1]");
    }
}
