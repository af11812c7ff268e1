//! A timer that fires late tells of a stall on this side.
//!
//! In such a stall an answer may lie unread, so it says nothing against the limiter.

use std::time::Duration;

use tokio::time::Instant;

/// A timer that fires so much too late was held up by its own process.
const OWN_STALL: Duration = Duration::from_millis(5);

/// Whether the timer that was set to `deadline`, and has just fired, fired late.
pub(crate) fn is_own(deadline: Instant) -> bool {
    deadline.elapsed() > OWN_STALL
}
