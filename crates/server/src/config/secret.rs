//! A setting that is shown to nobody.

use std::fmt;

use serde::Deserialize;

/// A setting that may hold a password. Anything is one, so that no error has a reason to show it.
#[derive(Clone, Deserialize)]
pub struct Secret(String);

impl Secret {
    pub(super) fn reveal(self) -> String {
        self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
