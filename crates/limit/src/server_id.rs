//! Which server is called.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{NameError, name::check_length};

/// The MCP server or vMCP that a policy protects, as `namespace/name`.
///
/// Both parts are names of Kubernetes objects (RFC 1123 subdomains).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(Arc<str>);

impl ServerId {
    /// The longest namespace and the longest name, in bytes (RFC 1123).
    pub const MAX_PART: usize = 253;

    /// The server `name` in `namespace`.
    pub fn new(namespace: &str, name: &str) -> Result<Self, NameError> {
        check_subdomain(namespace)?;
        check_subdomain(name)?;
        Ok(Self(format!("{namespace}/{name}").into()))
    }

    /// The text `namespace/name`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_subdomain(part: &str) -> Result<(), NameError> {
    check_length(part, ServerId::MAX_PART)?;
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = [part.as_bytes()[0], part.as_bytes()[part.len() - 1]];
    if part
        .bytes()
        .all(|b| alphanumeric(b) || b == b'-' || b == b'.')
        && ends.into_iter().all(alphanumeric)
    {
        Ok(())
    } else {
        Err(NameError::NotASubdomain(part.to_owned()))
    }
}

impl FromStr for ServerId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_length(text, 2 * Self::MAX_PART + 1)?;
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                check_subdomain(namespace)?;
                check_subdomain(name)?;
                Ok(Self(text.into()))
            }
            _ => Err(NameError::NotQualified(text.to_owned())),
        }
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_namespace_and_a_name_as_kubernetes_writes_them() {
        let server: ServerId = "team-a/research.v2".parse().expect("valid");
        assert_eq!(server.as_str(), "team-a/research.v2");

        let long = format!("a/{}", "x".repeat(254));
        for (text, part) in [
            ("", "must not be empty"),
            ("research", "form namespace/name"),
            ("/research", "form namespace/name"),
            ("a/", "form namespace/name"),
            ("a/b/c", "lower case letters"),
            ("A/b", "lower case letters"),
            ("a/-b", "start and end"),
            ("a/b}", "lower case letters"),
            ("a/b\0", "lower case letters"),
            (long.as_str(), "at most 253 bytes"),
        ] {
            let error = text.parse::<ServerId>().expect_err(text).to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }
}
