//! What a connection is at, as far as it matters who makes room for others.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A connection that still has something to send makes no room sooner.
const SENT_WITHIN: Duration = Duration::from_secs(1);

/// The stage of one connection. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Stage(Arc<Mutex<State>>);

#[derive(Clone, Copy, Debug)]
struct State {
    at: At,
    since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// It has sent no whole head of a request yet.
    Silent,
    /// A request is being answered.
    Busy,
    /// An answer is made, and may not be sent.
    Answered,
    /// The other side does not read.
    Stalled,
    /// All that was asked is answered.
    Idle,
}

/// Who makes room first: those that never spoke, then those that do not read, then those that have
/// not asked for the longest time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(u8, Instant);

impl Stage {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            at: At::Silent,
            since: Instant::now(),
        })))
    }

    pub(super) fn is_silent(&self) -> bool {
        self.state().at == At::Silent
    }

    /// A request has come.
    pub(super) fn asked(&self) {
        self.becomes(At::Busy);
    }

    /// The answer to it is made.
    pub(super) fn answered(&self) {
        self.becomes(At::Answered);
    }

    /// The other side takes nothing more for now.
    pub(super) fn stalled(&self) {
        if self.state().at != At::Stalled {
            self.becomes(At::Stalled);
        }
    }

    /// What there was to send is sent.
    pub(super) fn sent(&self) {
        if matches!(self.state().at, At::Answered | At::Stalled) {
            self.becomes(At::Idle);
        }
    }

    /// Whether it waits for its other side, and so may make room; the lowest goes first.
    pub(super) fn rank(&self, now: Instant) -> Option<Rank> {
        let State { at, since } = *self.state();
        let is_late = now.saturating_duration_since(since) >= SENT_WITHIN;
        let order = match at {
            At::Busy => return None,
            At::Answered | At::Stalled if !is_late => return None,
            At::Silent => 0,
            At::Stalled => 1,
            At::Answered | At::Idle => 2,
        };
        Some(Rank(order, since))
    }

    fn becomes(&self, at: At) {
        *self.state() = State {
            at,
            since: Instant::now(),
        };
    }

    /// No update is ever left half done by a panic, so a poisoned lock is as good as any.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_the_other_side_makes_room_and_the_silent_go_first() {
        let [silent, busy, stalled, idle] = [(); 4].map(|()| Stage::new());
        for stage in [&busy, &stalled, &idle] {
            stage.asked();
        }
        stalled.answered();
        stalled.stalled();
        idle.answered();
        let rank = |of: &Stage| of.rank(Instant::now());
        assert_eq!((rank(&stalled), rank(&idle)), (None, None), "too soon");
        idle.sent();
        assert!(rank(&idle).is_some());
        advance(SENT_WITHIN).await;
        stalled.stalled();
        assert_eq!(rank(&busy), None);
        assert!(rank(&silent) < rank(&stalled) && rank(&stalled) < rank(&idle));
        stalled.sent();
        assert!(rank(&idle) < rank(&stalled), "it was idle before");
        busy.sent();
        assert_eq!(rank(&busy), None, "an interim response is no answer");
    }
}
