//! The names under which stores keep buckets.
//!
//! A bucket is found by two texts: the group it lies in (the server's own buckets, or those of one
//! user) and its field there (the server as a whole, or one operation). Both come from input that
//! may hold anything, so each part is percent-encoded, which no two different parts survive as
//! equals, and what would be long is hashed. `#` is encoded inside the parts and so is free to
//! tell the forms apart: `alice`, `issuer#alice`, `#sha256...`.

use std::{fmt::Write, sync::Arc};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sha2::{Digest, Sha256};

use crate::{Identity, Operation};

/// Kept readable: letters, digits and `- . _ ~ @ / : | + = , ; & ! $ ( )`. Encoded: what `redis-cli`
/// would quote, what its patterns and hash tags mean, and this module's own `#`.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'\'')
    .add(b'#')
    .add(b'%')
    .add(b'*')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'}');

/// What the key of a user with a name begins with.
const USER: &str = "user:";

/// An encoded part longer than this is replaced by its SHA-256, in bytes.
const MAX_READABLE: usize = 200;

/// A group of buckets of one server that a store keeps, reads and writes together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// The buckets that all callers share.
    Global,
    /// The buckets of one user.
    User(UserKey),
}

/// A user as a store knows them.
///
/// ```
/// use toolgate_limit::{Identity, UserKey};
///
/// let alice = Identity::new("alice")?;
/// assert_eq!(UserKey::of(&alice).as_str(), "user:alice");
/// assert_eq!(UserKey::of(&alice.of_issuer("https://id.test")?).as_str(), "user:https://id.test#alice");
/// assert_eq!(UserKey::of(&Identity::anonymous()).as_str(), "anonymous");
/// # Ok::<(), toolgate_limit::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserKey(Arc<str>);

impl UserKey {
    /// The key of `identity`: its issuer and subject, or `anonymous` without a subject.
    pub fn of(identity: &Identity) -> Self {
        let Some(subject) = identity.subject() else {
            return Self("anonymous".into());
        };
        let issuer = identity.issuer().unwrap_or_default();
        let mut key = String::with_capacity(USER.len() + issuer.len() + 1 + subject.len());
        key.push_str(USER);
        if !issuer.is_empty() {
            key.extend(utf8_percent_encode(issuer, ENCODED));
            key.push('#');
        }
        key.extend(utf8_percent_encode(subject, ENCODED));
        hash_if_long(&mut key, USER.len());
        Self(key.into())
    }

    /// `anonymous`, or `user:` and the encoded issuer and subject.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a bucket within its group: `server`, or kind and encoded name of an operation.
pub(crate) fn field(operation: Option<&Operation>) -> Arc<str> {
    let Some(operation) = operation else {
        return "server".into();
    };
    let mut field = format!("{}:", operation.kind());
    let name = field.len();
    field.extend(utf8_percent_encode(operation.name(), ENCODED));
    hash_if_long(&mut field, name);
    field.into()
}

/// Replaces the part of `key` that begins at `part`, if it is long.
fn hash_if_long(key: &mut String, part: usize) {
    if key.len() - part <= MAX_READABLE {
        return;
    }
    let digest = Sha256::digest(&key[part..]);
    key.truncate(part);
    key.push_str("#sha256#");
    for byte in digest {
        write!(key, "{byte:02x}").unwrap_or_else(|_| unreachable!("a String takes all"));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::OperationKind;

    /// Texts that are likely to collide: separators, escapes, and near copies of the encoded forms.
    fn tricky() -> impl Strategy<Value = String> {
        let atom = prop_oneof![
            Just("#".to_owned()),
            Just("%".to_owned()),
            Just("%23".to_owned()),
            Just("%2523".to_owned()),
            Just(":".to_owned()),
            Just("user:".to_owned()),
            Just("anonymous".to_owned()),
            Just("#sha256#".to_owned()),
            Just("{".to_owned()),
            Just("}".to_owned()),
            Just("\n".to_owned()),
            Just("\0".to_owned()),
            Just("🦀".to_owned()),
            Just("a".repeat(120)),
            any::<char>().prop_map(String::from),
        ];
        prop::collection::vec(atom, 1..5).prop_map(|atoms| atoms.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn different_users_have_different_keys(
            a in (prop::option::of(tricky()), tricky()),
            b in (prop::option::of(tricky()), tricky()),
        ) {
            let key = |(issuer, subject): &(Option<String>, String)| {
                let identity = Identity::new(subject)?.of_issuer(issuer.as_deref().unwrap_or(""))?;
                Ok::<_, crate::NameError>(UserKey::of(&identity))
            };
            let (key_a, key_b) = (key(&a).expect("valid"), key(&b).expect("valid"));
            prop_assert_eq!(a == b, key_a == key_b);
            prop_assert!(key_a.as_str().is_ascii() && key_a.as_str().len() < 300);
        }

        #[test]
        fn different_operations_have_different_fields(a in tricky(), b in tricky()) {
            let tool = |name| field(Operation::new(OperationKind::Tool, name).ok().as_ref());
            let prompt = |name| field(Operation::new(OperationKind::Prompt, name).ok().as_ref());
            prop_assert_eq!(a == b, tool(&a) == tool(&b));
            prop_assert_ne!(tool(&a), prompt(&a));
            prop_assert_ne!(&*tool(&a), &*field(None));
        }
    }

    #[test]
    fn a_user_called_anonymous_is_not_the_anonymous_one() {
        let named = Identity::new("anonymous").expect("valid");
        assert_ne!(UserKey::of(&named), UserKey::of(&Identity::anonymous()));
    }

    #[test]
    fn a_long_subject_is_hashed_and_a_literal_copy_of_the_hash_is_another_user() {
        let long = UserKey::of(&Identity::new("x".repeat(2_048)).expect("valid"));
        assert!(long.as_str().starts_with("user:#sha256#"), "{long:?}");
        let literal = long.as_str().strip_prefix("user:").expect("prefix");
        assert_ne!(UserKey::of(&Identity::new(literal).expect("valid")), long);
    }
}
