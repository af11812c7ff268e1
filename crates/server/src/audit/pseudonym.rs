//! Pseudonyms: the same user has the same one everywhere, and nobody without the salt can tell whose
//! it is, or try names until one fits.

use std::{fmt, fs, io, path::Path};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use toolgate_limit::{Identity, Operation, OperationKind, UserKey};

/// Shorter secrets can be guessed.
const MIN_SALT_BYTES: usize = 16;

/// The secret that makes pseudonyms.
#[derive(Clone)]
pub struct Salt(Hmac<Sha256>);

/// Why there is no salt.
#[derive(Debug, thiserror::Error)]
pub enum SaltError {
    /// The file cannot be read.
    #[error("cannot read it")]
    Read(#[from] io::Error),
    /// Names could be tried until one fits.
    #[error("it holds {0} bytes; a salt has at least {MIN_SALT_BYTES}")]
    Short(usize),
}

impl Salt {
    /// The salt in the file at `path`, but for line breaks at its end.
    pub fn read(path: &Path) -> Result<Self, SaltError> {
        Self::new(fs::read(path)?.trim_ascii_end())
    }

    fn new(secret: &[u8]) -> Result<Self, SaltError> {
        if secret.len() < MIN_SALT_BYTES {
            return Err(SaltError::Short(secret.len()));
        }
        // A key of any length is one.
        let mac = Hmac::new_from_slice(secret).map_err(|_| SaltError::Short(secret.len()))?;
        Ok(Self(mac))
    }

    /// The pseudonym of a user: the first half of an HMAC-SHA-256, in hexadecimal, of
    /// [`UserKey`]; `anonymous` for who has no name.
    pub fn user(&self, identity: &Identity) -> String {
        match identity.subject() {
            None => "anonymous".to_owned(),
            Some(_) => self.pseudonym(UserKey::of(identity).as_str()),
        }
    }

    /// `tool:NAME`, `prompt:NAME`, or `resource:` and the pseudonym of the URI, which may hold more
    /// than a log should.
    pub(super) fn operation(&self, operation: &Operation) -> String {
        let (kind, name) = (operation.kind(), operation.name());
        match kind {
            OperationKind::Tool | OperationKind::Prompt => format!("{kind}:{name}"),
            OperationKind::Resource => format!("{kind}:{}", self.resource(name)),
        }
    }

    /// The pseudonym of a resource, likewise of `resource:URI`.
    pub fn resource(&self, uri: &str) -> String {
        self.pseudonym(&format!("resource:{uri}"))
    }

    fn pseudonym(&self, of: &str) -> String {
        use fmt::Write as _;
        let digest = self.0.clone().chain_update(of).finalize().into_bytes();
        digest[..16].iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}"); // a String takes all
            text
        })
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn salt() -> Salt {
        Salt::new(b"0123456789abcdef").expect("long enough")
    }

    /// `printf user:alice | openssl dgst -sha256 -hmac 0123456789abcdef`
    #[test]
    fn a_pseudonym_is_an_hmac_that_other_tools_make_as_well() {
        let alice = Identity::new("alice").expect("valid");
        assert_eq!(salt().user(&alice), "a2d53898aba5b7cc967235b40586185e");
        let of_issuer = alice.of_issuer("https://id.test").expect("valid");
        assert_ne!(salt().user(&of_issuer), "a2d53898aba5b7cc967235b40586185e");
        assert_eq!(salt().user(&Identity::anonymous()), "anonymous");
    }

    #[test]
    fn another_salt_makes_another_pseudonym() {
        let alice = Identity::new("alice").expect("valid");
        let other = Salt::new(b"0123456789abcdeg").expect("long enough");
        assert_ne!(salt().user(&alice), other.user(&alice));
    }

    #[test]
    fn a_salt_that_can_be_guessed_is_refused() {
        let error = Salt::new(b"0123456789abcde").expect_err("short");
        assert_eq!(
            error.to_string(),
            "it holds 15 bytes; a salt has at least 16"
        );
    }

    #[test]
    fn tools_are_named_and_resources_are_not() {
        let of = |kind, name| Operation::new(kind, name).expect("valid");
        let tool = of(OperationKind::Tool, "search");
        assert_eq!(salt().operation(&tool), "tool:search");
        let uri = "file:///home/alice/tax.pdf";
        let resource = salt().operation(&of(OperationKind::Resource, uri));
        assert_eq!(resource, format!("resource:{}", salt().resource(uri)));
        assert!(!resource.contains("alice"));
    }
}
