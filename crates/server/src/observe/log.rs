//! Denials in the log.

use super::{Decided, Observer};

/// Logs each denial at debug: the limit and the wait, never who was denied.
#[derive(Debug)]
pub(crate) struct DenialLog;

impl Observer for DenialLog {
    fn decided(&self, decided: &Decided<'_>) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        for (check, answer, denial) in decided.denials() {
            tracing::debug!(
                server = %check.server,
                limit = %denial.limit,
                retry_after = ?denial.retry_after,
                degraded = answer.degraded,
                shadow = answer.decision.is_allowed(),
                "denied"
            );
        }
    }
}
