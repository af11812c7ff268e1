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
    pub fn new(subject: impl Into<String>) -> Result<Self, NameError> {
        let subject = subject.into();
        check_length_if_given(&subject, Self::MAX_PART)?;
        Ok(Self {
            subject: (!subject.is_empty()).then_some(subject),
            ..Self::default()
        })
    }

    /// The same subject as known to `issuer`: another user than that subject of another issuer.
    /// An empty issuer is none.
    pub fn of_issuer(self, issuer: impl Into<String>) -> Result<Self, NameError> {
        let issuer = issuer.into();
        check_length_if_given(&issuer, Self::MAX_PART)?;
        Ok(Self {
            issuer: (!issuer.is_empty()).then_some(issuer),
            ..self
        })
    }

    /// The most groups, and the longest name of one, in bytes.
    pub const MAX_GROUPS: (usize, usize) = (1_024, 256);

    /// The most bytes of all groups, with [`Identity::BYTES_PER_GROUP`] more for each. So a check with the
    /// longest names there may be fits into the 16 KiB that a limiter reads.
    pub const MAX_BYTES_OF_GROUPS: usize = 8 * 1_024;

    /// What a group takes on the wire beside its name, in bytes.
    pub const BYTES_PER_GROUP: usize = 3;

    /// The same user as a member of `groups`, which no limit looks at yet.
    pub fn in_groups(self, groups: Vec<String>) -> Result<Self, NameError> {
        let (most, longest) = Self::MAX_GROUPS;
        if groups.len() > most {
            let len = groups.len();
            return Err(NameError::TooMany { len, max: most });
        }
        for group in &groups {
            check_length_if_given(group, longest)?;
        }
        let bytes = groups
            .iter()
            .map(|group| group.len() + Self::BYTES_PER_GROUP);
        let (len, max) = (bytes.sum(), Self::MAX_BYTES_OF_GROUPS);
        if len > max {
            return Err(NameError::TooLong { len, max });
        }
        Ok(Self { groups, ..self })
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

fn check_length_if_given(text: &str, max: usize) -> Result<(), NameError> {
    match check_length(text, max) {
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
        assert!(Identity::new("x".repeat(2_048)).is_ok());
        assert!(Identity::new("x".repeat(2_049)).is_err());
        assert!(Identity::anonymous().of_issuer("x".repeat(2_049)).is_err());
    }

    #[test]
    fn groups_are_bounded_in_number_and_length_and_in_all() {
        let in_groups = |groups| Identity::anonymous().in_groups(groups);
        assert!(in_groups(vec!["x".repeat(5); 1_024]).is_ok());
        assert!(in_groups(vec!["x".repeat(6); 1_024]).is_err());
        assert!(in_groups(vec!["x".repeat(253); 32]).is_ok());
        assert!(in_groups(vec!["x".repeat(254); 32]).is_err());
        assert!(in_groups(vec!["x".to_owned(); 1_025]).is_err());
        assert!(in_groups(vec!["x".repeat(257)]).is_err());
    }
}
