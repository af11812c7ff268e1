//! A check between its session and the wire.

use tokio::time::Instant;
use toolgate_proto::pb::{CheckRequest, CheckStreamRequest};

/// A check on its way to the wire.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) id: u64,
    pub(crate) check: CheckRequest,
    pub(crate) deadline: Instant,
}

impl Outgoing {
    /// The message, with the time that is left; none if there is none left.
    pub(crate) fn into_message(self) -> Option<CheckStreamRequest> {
        let left = self.deadline.checked_duration_since(Instant::now())?;
        (!left.is_zero()).then(|| CheckStreamRequest::new(self.id, self.check, left))
    }
}
