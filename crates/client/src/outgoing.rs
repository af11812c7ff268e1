//! A check between its session and the wire.

use std::sync::{Arc, Weak};

use tokio::time::Instant;
use toolgate_limit::TraceContext;
use toolgate_proto::pb::{CheckRequest, CheckStreamRequest};

use crate::session::Session;

/// A check on its way to the wire.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) id: u64,
    pub(crate) check: CheckRequest,
    pub(crate) trace: Option<Arc<TraceContext>>,
    pub(crate) deadline: Instant,
    pub(crate) session: Weak<Session>,
}

impl Outgoing {
    /// The message, with the time that is left. None if there is none left, or if the caller has
    /// gone or the session has ended: what nobody waits for is not sent, or it would be paid.
    pub(crate) fn into_message(self) -> Option<CheckStreamRequest> {
        let left = self.deadline.checked_duration_since(Instant::now())?;
        if left.is_zero() || !self.session.upgrade()?.leave(self.id) {
            return None;
        }
        let request = CheckStreamRequest {
            omit_buckets_if_allowed: true,
            ..CheckStreamRequest::new(self.id, self.check, left)
        };
        Some(match self.trace {
            Some(trace) => request.traced(&trace),
            None => request,
        })
    }
}
