//! Names of backends, and of what they offer.

use std::{fmt, str::FromStr, sync::Arc};

/// Between a backend's name and the name of a tool or prompt.
const SEPARATOR: char = '_';

/// The name of a backend: the prefix of its tools and prompts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendName(Arc<str>);

/// Why a text is no [`BackendName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no name for a backend: 1 to 63 lower case letters, digits and '-', \
     with a letter or a digit at both ends"
)]
pub struct BackendNameError(String);

impl BackendName {
    /// The most characters of a name, as Kubernetes has it for labels.
    pub const MAX_LEN: usize = 63;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name by which clients know the backend's tool or prompt `own`.
    pub(super) fn prefixed(&self, own: &str) -> String {
        format!("{}{SEPARATOR}{own}", self.0)
    }
}

/// The backend's name and the backend's own name of a tool or prompt.
pub(super) fn split(name: &str) -> Option<(&str, &str)> {
    name.split_once(SEPARATOR)
}

impl FromStr for BackendName {
    type Err = BackendNameError;

    fn from_str(text: &str) -> Result<Self, BackendNameError> {
        let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let ends = [text.bytes().next(), text.bytes().next_back()];
        let is_name = text.len() <= Self::MAX_LEN
            && ends.into_iter().all(|end| end.is_some_and(alphanumeric))
            && text.bytes().all(|b| alphanumeric(b) || b == b'-');
        if is_name {
            Ok(Self(text.into()))
        } else {
            Err(BackendNameError(text.to_owned()))
        }
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefixed_name_splits_where_it_was_joined() {
        let backend: BackendName = "git-hub2".parse().unwrap();
        for own in ["search", "search_code", "_", "", "a/b.c-d"] {
            let name = backend.prefixed(own);
            assert_eq!(split(&name), Some(("git-hub2", own)));
        }
        assert_eq!(split("nothing"), None);
    }

    #[test]
    fn a_name_that_would_not_split_again_is_refused() {
        let long = "x".repeat(64);
        for text in ["", "a_b", "-a", "a-", "A", "a.b", "ä", long.as_str()] {
            assert!(text.parse::<BackendName>().is_err(), "{text:?}");
        }
        assert!("x".repeat(63).parse::<BackendName>().is_ok());
    }
}
