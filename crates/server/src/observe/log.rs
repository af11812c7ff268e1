//! Denials in the log.

use toolgate_limit::Decision;

use super::{Decided, Observer};

/// Logs each denial at debug: the limit and the wait, never who was denied.
#[derive(Debug)]
pub(crate) struct DenialLog;

impl Observer for DenialLog {
    fn decided(&self, decided: &Decided<'_>) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        for (check, answer) in decided.each() {
            let Ok(answer) = answer else { continue };
            let (denial, is_shadow) = match (&answer.decision, &answer.shadowed) {
                (Decision::Denied(denial), _) => (denial, false),
                (Decision::Allowed, Some(denial)) => (denial, true),
                (Decision::Allowed, None) => continue,
            };
            tracing::debug!(
                server = %check.server,
                limit = %denial.limit,
                retry_after = ?denial.retry_after,
                degraded = answer.degraded,
                shadow = is_shadow,
                "denied"
            );
        }
    }
}
