//! One limit: a quota at one scope, for the server or one operation.

use std::{fmt, hash::BuildHasher as _, sync::Arc};

use foldhash::fast::FixedState;

use crate::{Operation, Quota, ServerId, key};

/// Whether all callers share a limit or each user has their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// One bucket for all callers.
    Global,
    /// One bucket for each user.
    PerUser,
}

/// One quota at one scope, for the server as a whole or for one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    server: ServerId,
    operation: Option<Operation>,
    scope: Scope,
    quota: Quota,
    field: Arc<str>,
    field_hash: u64,
    text: Box<str>,
}

impl Limit {
    /// The limit of `quota` at `scope` on `operation`, or on the server as a whole.
    pub fn new(server: ServerId, operation: Option<Operation>, scope: Scope, quota: Quota) -> Self {
        let field = key::field(operation.as_ref());
        let text = text(&server, operation.as_ref(), scope, quota);
        Self {
            field_hash: FixedState::default().hash_one(&*field),
            field,
            text: text.into(),
            server,
            operation,
            scope,
            quota,
        }
    }

    /// The server that the limit protects.
    pub const fn server(&self) -> &ServerId {
        &self.server
    }

    /// The operation, or none for the server's own limit.
    pub const fn operation(&self) -> Option<&Operation> {
        self.operation.as_ref()
    }

    /// Global or per user.
    pub const fn scope(&self) -> Scope {
        self.scope
    }

    /// Capacity and refill period.
    pub const fn quota(&self) -> Quota {
        self.quota
    }

    /// The bucket's name in a store, within its group.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// A hash of [`Limit::field`], the same for all limits with that field in this process.
    pub(crate) const fn field_hash(&self) -> u64 {
        self.field_hash
    }
}

/// As people say it: `10 calls per 1m per user of tool github_search`.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Made once for each limit, as every denial says it.
fn text(server: &ServerId, operation: Option<&Operation>, scope: Scope, quota: Quota) -> String {
    let per_user = match scope {
        Scope::Global => "",
        Scope::PerUser => " per user",
    };
    match operation {
        Some(operation) => format!("{quota}{per_user} of {operation}"),
        None => format!("{quota}{per_user} of server {server}"),
    }
}
