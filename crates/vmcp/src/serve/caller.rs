//! What travels with a request from the edge to the handler, and back.

use std::sync::{Arc, OnceLock};

use axum::http::request::Parts;
use rmcp::{RoleServer, service::RequestContext};
use toolgate_limit::{Denial, Identity};

use crate::VmcpError;

/// Who calls, and where the handler notes a denial for the HTTP response.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) identity: Identity,
    denied: Arc<OnceLock<Denial>>,
}

impl Caller {
    pub(super) fn new(identity: Identity) -> Self {
        Self {
            identity,
            denied: Arc::default(),
        }
    }

    /// The caller that the edge has put into the request. There is no other way to be one.
    pub(super) fn of(context: &RequestContext<RoleServer>) -> Option<&Self> {
        context.extensions.get::<Parts>()?.extensions.get()
    }

    pub(super) fn note(&self, error: &VmcpError) {
        if let VmcpError::Denied(denial) = error {
            // A request is denied once.
            let _ = self.denied.set(denial.clone());
        }
    }

    pub(super) fn denial(&self) -> Option<&Denial> {
        self.denied.get()
    }
}
