//! Sets of servers.

use std::{fmt, str::FromStr};

use serde::Deserialize;
use toolgate_limit::ServerId;

/// Which servers are meant: `namespace/name`, `namespace/*`, or `*` for all.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ServerPattern(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    All,
    /// The namespace, with the slash.
    Namespace(String),
    One(ServerId),
}

/// A text that is no [`ServerPattern`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no servers; write namespace/name, namespace/* or *")]
pub struct InvalidServerPattern(String);

impl FromStr for ServerPattern {
    type Err = InvalidServerPattern;

    fn from_str(text: &str) -> Result<Self, InvalidServerPattern> {
        if text == "*" {
            return Ok(Self(Form::All));
        }
        let form = match text.strip_suffix('*') {
            None => text.parse().ok().map(Form::One),
            // A namespace is one if some server may lie in it.
            Some(namespace) if format!("{namespace}x").parse::<ServerId>().is_ok() => namespace
                .ends_with('/')
                .then(|| Form::Namespace(namespace.to_owned())),
            Some(_) => None,
        };
        form.map(Self)
            .ok_or_else(|| InvalidServerPattern(text.to_owned()))
    }
}

impl TryFrom<String> for ServerPattern {
    type Error = InvalidServerPattern;

    fn try_from(text: String) -> Result<Self, InvalidServerPattern> {
        text.parse()
    }
}

impl ServerPattern {
    /// Whether `server` is meant.
    pub fn fits(&self, server: &ServerId) -> bool {
        match &self.0 {
            Form::All => true,
            Form::Namespace(namespace) => server.as_str().starts_with(namespace.as_str()),
            Form::One(wanted) => wanted == server,
        }
    }
}

impl fmt::Display for ServerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::All => f.write_str("*"),
            Form::Namespace(namespace) => write!(f, "{namespace}*"),
            Form::One(server) => server.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_the_servers_that_it_names() {
        for (pattern, server, fits) in [
            ("team-a/x", "team-a/x", true),
            ("team-a/x", "team-a/xy", false),
            ("team-a/*", "team-a/x", true),
            ("team-a/*", "team-ab/x", false),
            ("team-a/*", "team-b/x", false),
            ("*", "team-b/x", true),
        ] {
            let parsed: ServerPattern = pattern.parse().expect(pattern);
            assert_eq!(parsed.to_string(), pattern);
            let server = server.parse().expect("a server");
            assert_eq!(parsed.fits(&server), fits, "{pattern} {server}");
        }
    }

    #[test]
    fn what_names_no_servers_is_refused() {
        for text in ["", "team-a", "team-*", "team-a/x*", "*/x", "/*", "Team/*"] {
            assert!(text.parse::<ServerPattern>().is_err(), "{text}");
        }
    }
}
