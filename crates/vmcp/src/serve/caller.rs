//! What travels with a request from the edge to the handler, and back.

use std::sync::{Arc, OnceLock};

use axum::http::request::Parts;
use rmcp::{RoleServer, service::RequestContext};
use tokio_util::sync::CancellationToken;
use toolgate_limit::{Denial, Identity};

use super::outcome::Outcome;
use crate::VmcpError;

/// Who calls, and where the handler notes what became of the request.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) identity: Identity,
    /// When the caller wants no answer any more.
    pub(super) cancelled: CancellationToken,
    notes: Arc<Notes>,
}

/// A request has one outcome, which is noted once.
#[derive(Debug, Default)]
struct Notes {
    odd_id: OnceLock<Box<str>>,
    outcome: OnceLock<Outcome>,
    denial: OnceLock<Denial>,
}

impl Caller {
    pub(super) fn new(identity: Identity) -> Self {
        Self {
            identity,
            cancelled: CancellationToken::new(),
            notes: Arc::default(),
        }
    }

    /// The caller that the edge has put into the request. There is no other way to be one.
    pub(super) fn of(context: &RequestContext<RoleServer>) -> Option<&Self> {
        context.extensions.get::<Parts>()?.extensions.get()
    }

    /// Notes the id of the request, for which rmcp has a stand-in.
    pub(super) fn note_odd_id(&self, id: &str) {
        let _ = self.notes.odd_id.set(id.into());
    }

    /// None if rmcp has the request's own id.
    pub(super) fn odd_id(&self) -> Option<&str> {
        self.notes.odd_id.get().map(AsRef::as_ref)
    }

    pub(super) fn note(&self, outcome: Outcome) {
        let _ = self.notes.outcome.set(outcome);
    }

    /// Notes why the request was not served.
    pub(super) fn note_error(&self, error: &VmcpError) {
        self.note(error.into());
        if let VmcpError::Denied(denial) = error {
            let _ = self.notes.denial.set(denial.clone());
        }
    }

    /// None for a message that did not reach the handler.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.notes.outcome.get().copied()
    }

    pub(super) fn denial(&self) -> Option<&Denial> {
        self.notes.denial.get()
    }
}
