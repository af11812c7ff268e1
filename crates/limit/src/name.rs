//! What all names have in common: a bound on their length, and an error that says what is wrong.

/// Why a text is no [`ServerId`](crate::ServerId), [`Operation`](crate::Operation) or
/// [`Identity`](crate::Identity).
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
    /// More names than the bound.
    #[error("must be at most {max}, not {len}")]
    TooMany {
        /// How many there are.
        len: usize,
        /// The bound.
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

/// Whether `text` is 1 to `max` bytes long.
pub(crate) fn check_length(text: &str, max: usize) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty),
        len if len > max => Err(NameError::TooLong { len, max }),
        _ => Ok(()),
    }
}
