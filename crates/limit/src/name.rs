//! What a check names: the server, the operation and the caller.

use std::{fmt, str::FromStr, sync::Arc};

/// The MCP server or vMCP that a policy protects, as `namespace/name`.
///
/// Both parts are names of Kubernetes objects (RFC 1123 subdomains).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(Arc<str>);

/// Why a text is no [`ServerId`], [`Operation`] or [`Identity`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing where a name must be.
    #[error("must not be empty")]
    Empty,
    /// Longer than the bound.
    #[error("must be at most {max} bytes long, not {len}")]
    TooLong {
        /// Length as given, in bytes.
        len: usize,
        /// The bound, in bytes.
        max: usize,
    },
    /// A server that is not `namespace/name`.
    #[error("must have the form namespace/name, not {0:?}")]
    NotQualified(String),
    /// A namespace or server name that Kubernetes would not accept.
    #[error(
        "{0:?} must consist of lower case letters, digits, '-' or '.', and must start and end with a letter or a digit"
    )]
    NotASubdomain(String),
}

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

fn check_length(text: &str, max: usize) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty),
        len if len > max => Err(NameError::TooLong { len, max }),
        _ => Ok(()),
    }
}

impl FromStr for ServerId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_length(text, 2 * Self::MAX_PART + 1)?;
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                Self::new(namespace, name)
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

/// What kind of thing an MCP client runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperationKind {
    /// `tools/call`.
    Tool,
    /// `prompts/get`.
    Prompt,
    /// `resources/read`.
    Resource,
}

impl OperationKind {
    /// `tool`, `prompt` or `resource`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Resource => "resource",
        }
    }
}

impl fmt::Display for OperationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A tool, prompt or resource by name; a resource's name is its URI.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Operation {
    kind: OperationKind,
    name: Arc<str>,
}

impl Operation {
    /// The longest name, in bytes.
    pub const MAX_NAME: usize = 1_024;

    /// The operation of that kind and name, which may be any text of 1 to 1,024 bytes.
    pub fn new(kind: OperationKind, name: &str) -> Result<Self, NameError> {
        check_length(name, Self::MAX_NAME)?;
        Ok(Self {
            kind,
            name: name.into(),
        })
    }

    /// Tool, prompt or resource.
    pub const fn kind(&self) -> OperationKind {
        self.kind
    }

    /// The name alone.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// As people say it: `tool github_search`.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// Who calls. Without a subject the caller is anonymous, and all such callers share one bucket:
/// no identity is never no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    subject: Option<String>,
    issuer: Option<String>,
    groups: Vec<String>,
}

impl Identity {
    /// The longest subject and the longest issuer, in bytes.
    pub const MAX_PART: usize = 2_048;

    /// A caller of whom nothing is known.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// The user `subject`, of no particular issuer. An empty subject is anonymous.
    pub fn new(subject: &str) -> Result<Self, NameError> {
        check_length_if_given(subject)?;
        Ok(Self {
            subject: (!subject.is_empty()).then(|| subject.to_owned()),
            ..Self::default()
        })
    }

    /// The same subject as known to `issuer`: another user than that subject of another issuer.
    /// An empty issuer is none.
    pub fn of_issuer(self, issuer: &str) -> Result<Self, NameError> {
        check_length_if_given(issuer)?;
        Ok(Self {
            issuer: (!issuer.is_empty()).then(|| issuer.to_owned()),
            ..self
        })
    }

    /// The same user as a member of `groups`, which no limit looks at yet.
    #[must_use]
    pub fn in_groups(self, groups: Vec<String>) -> Self {
        Self { groups, ..self }
    }

    /// The user's name, unless anonymous.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// Who vouches for the subject.
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// The groups as given.
    pub fn groups(&self) -> &[String] {
        &self.groups
    }
}

fn check_length_if_given(text: &str) -> Result<(), NameError> {
    match check_length(text, Identity::MAX_PART) {
        Err(NameError::Empty) => Ok(()),
        other => other,
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

    #[test]
    fn an_operation_may_have_any_name_of_bounded_length() {
        for name in ["a", "a:b", "{}", "%", "\n", "\0", "🦀", &"x".repeat(1_024)] {
            assert!(
                Operation::new(OperationKind::Tool, name).is_ok(),
                "{name:?}"
            );
        }
        assert_eq!(
            Operation::new(OperationKind::Tool, ""),
            Err(NameError::Empty)
        );
        assert_eq!(
            Operation::new(OperationKind::Tool, &"x".repeat(1_025)),
            Err(NameError::TooLong {
                len: 1_025,
                max: 1_024
            })
        );
    }

    #[test]
    fn an_empty_subject_is_anonymous_and_a_long_one_is_refused() {
        assert_eq!(Identity::new(""), Ok(Identity::anonymous()));
        assert!(Identity::new(&"x".repeat(2_048)).is_ok());
        assert!(Identity::new(&"x".repeat(2_049)).is_err());
        assert!(Identity::anonymous().of_issuer(&"x".repeat(2_049)).is_err());
    }
}
