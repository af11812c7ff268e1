//! What is wrong with a message.

use toolgate_limit::NameError;

/// A field of a request or a reply that does not hold what it must.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidField {
    /// Path of the field from the message's root, for example `identity.subject`.
    pub field: String,
    /// What is wrong with its value, for people.
    pub reason: String,
}

impl InvalidField {
    pub(crate) fn new(field: &str, reason: &impl ToString) -> Self {
        Self {
            field: field.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// The same, where the checked message is the field `outer` of a larger one.
    #[must_use]
    pub fn within(self, outer: &str) -> Self {
        Self {
            field: format!("{outer}.{}", self.field),
            ..self
        }
    }

    /// Turns a [`NameError`] into an error at `field`.
    pub(crate) fn at(field: &str) -> impl FnOnce(NameError) -> Self {
        move |error| Self::new(field, &error)
    }
}
