//! Who calls.

use crate::{NameError, name::check_length};

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
    fn an_empty_subject_is_anonymous_and_a_long_one_is_refused() {
        assert_eq!(Identity::new(""), Ok(Identity::anonymous()));
        assert!(Identity::new(&"x".repeat(2_048)).is_ok());
        assert!(Identity::new(&"x".repeat(2_049)).is_err());
        assert!(Identity::anonymous().of_issuer(&"x".repeat(2_049)).is_err());
    }
}
