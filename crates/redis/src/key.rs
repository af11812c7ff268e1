//! The names of Toolgate's keys.

use std::{fmt, str::FromStr, sync::Arc};

use toolgate_limit::{Group, ServerId};

/// The most characters of a prefix.
const MAX_LEN: usize = 32;

/// What the names of all keys of one installation begin with: `tg` unless it is set. Installations
/// that share a Redis and have different prefixes share no bucket.
///
/// ```
/// # use toolgate_redis::KeyPrefix;
/// assert_eq!(KeyPrefix::default().to_string(), "tg");
/// assert!("staging".parse::<KeyPrefix>().is_ok());
/// assert!("a:b".parse::<KeyPrefix>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPrefix(Arc<str>);

/// A text that no keys begin with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key prefix is 1 to {MAX_LEN} characters of A-Z a-z 0-9 - _ .")]
pub struct InvalidKeyPrefix;

impl Default for KeyPrefix {
    fn default() -> Self {
        Self("tg".into())
    }
}

impl FromStr for KeyPrefix {
    type Err = InvalidKeyPrefix;

    /// No brace, as the first one opens the hash tag. No colon, so that the pattern `PREFIX:*` of an
    /// ACL rule matches no keys of a longer prefix; nor what has a meaning in a pattern.
    fn from_str(text: &str) -> Result<Self, InvalidKeyPrefix> {
        let may = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        let is_valid = (1..=MAX_LEN).contains(&text.len()) && text.bytes().all(may);
        is_valid.then(|| Self(text.into())).ok_or(InvalidKeyPrefix)
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl KeyPrefix {
    /// The hash in which `group` of `server` lies.
    ///
    /// The braces make the server the key's hash tag: all buckets of one server share a cluster
    /// slot, so one script may decide on them. A server id holds no brace, and what follows the tag
    /// cannot end it.
    pub(crate) fn hash(&self, server: &ServerId, group: &Group) -> String {
        let group = match group {
            Group::Global => "global",
            Group::User(user) => user.as_str(),
        };
        [&self.0, ":{", server.as_str(), "}:", group].concat()
    }

    /// A key of the limiter's own, in the slot of `tag`. No server id is without a slash, so no
    /// bucket is there.
    pub(crate) fn probe(&self, tag: &str) -> String {
        [&self.0, ":{", tag, "}"].concat()
    }
}

#[cfg(test)]
mod tests {
    use toolgate_limit::{Identity, UserKey};

    use super::*;

    #[test]
    fn keys_are_tagged_with_the_server_and_nothing_else() {
        let server: ServerId = "default/research".parse().expect("valid");
        let keys = KeyPrefix::default();
        let user = |subject| {
            let identity = Identity::new(subject).expect("valid");
            keys.hash(&server, &Group::User(UserKey::of(&identity)))
        };
        let global = keys.hash(&server, &Group::Global);
        assert_eq!(global, "tg:{default/research}:global");
        assert_eq!(user("alice"), "tg:{default/research}:user:alice");
        assert_eq!(user("}{x"), "tg:{default/research}:user:%7D%7Bx");
        assert_eq!(user(""), "tg:{default/research}:anonymous");
        let staging: KeyPrefix = "staging-2".parse().expect("valid");
        let global = staging.hash(&server, &Group::Global);
        assert_eq!(global, "staging-2:{default/research}:global");
        assert_eq!(staging.probe("ping-1"), "staging-2:{ping-1}");
    }

    #[test]
    fn a_prefix_cannot_move_the_hash_tag_or_widen_a_pattern() {
        let longest = "x".repeat(MAX_LEN);
        for valid in ["tg", "t", "eu-west.1_b", &longest] {
            assert!(valid.parse::<KeyPrefix>().is_ok(), "{valid}");
        }
        let too_long = "x".repeat(MAX_LEN + 1);
        for wrong in [
            "", "{x}", "x{", "a}", "a:b", "a*", "a?", "[a]", "a b", "a\n", "\0", "\\", "ä",
            &too_long,
        ] {
            assert_eq!(
                wrong.parse::<KeyPrefix>(),
                Err(InvalidKeyPrefix),
                "{wrong:?}"
            );
        }
    }
}
