//! The names of Toolgate's keys.

use toolgate_limit::{Group, ServerId};

/// The hash in which `group` of `server` lies.
///
/// The braces make the server the key's hash tag: all buckets of one server share a cluster slot,
/// so one script may decide on them. A server id holds no brace, and what follows the tag cannot
/// end it.
pub(crate) fn key(server: &ServerId, group: &Group) -> String {
    let group = match group {
        Group::Global => "global",
        Group::User(user) => user.as_str(),
    };
    ["tg:{", server.as_str(), "}:", group].concat()
}

#[cfg(test)]
mod tests {
    use toolgate_limit::{Identity, UserKey};

    use super::*;

    #[test]
    fn keys_are_tagged_with_the_server_and_nothing_else() {
        let server: ServerId = "default/research".parse().expect("valid");
        let user = |subject| {
            let identity = Identity::new(subject).expect("valid");
            key(&server, &Group::User(UserKey::of(&identity)))
        };
        assert_eq!(key(&server, &Group::Global), "tg:{default/research}:global");
        assert_eq!(user("alice"), "tg:{default/research}:user:alice");
        assert_eq!(user("}{x"), "tg:{default/research}:user:%7D%7Bx");
        assert_eq!(user(""), "tg:{default/research}:anonymous");
    }
}
