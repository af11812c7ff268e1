//! Which callers are one.

use toolgate_limit::Identity;

/// A caller, as a backend's bounds tell callers apart: by issuer and subject, as limits do. Groups
/// do not count: two tokens of one user are one user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct User {
    issuer: Option<Box<str>>,
    subject: Option<Box<str>>,
}

impl From<&Identity> for User {
    fn from(identity: &Identity) -> Self {
        Self {
            issuer: identity.issuer().map(Into::into),
            subject: identity.subject().map(Into::into),
        }
    }
}
