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
    /// When it was last of use.
    worked: Option<Instant>,
    is_spare: bool,
}

/// The connection that a request has come by: an extension of each request.
#[derive(Clone, Debug)]
pub struct Connection(Stage);

impl Connection {
    pub(super) const fn of(stage: Stage) -> Self {
        Self(stage)
    }

    /// Notes that it was used for what the server is there for. It then makes room later than
    /// those that were not, or not for longer.
    pub fn worked(&self) {
        self.0.state().worked = Some(Instant::now());
    }

    /// Whether it is beyond the bound, and only there for probes.
    pub fn is_spare(&self) -> bool {
        self.0.is_spare()
    }
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
/// done no work, then the others.
pub(super) type Order = u8;

impl Stage {
    pub(super) fn new(is_spare: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            at: At::Silent,
            since: Instant::now(),
            worked: None,
            is_spare,
        })))
    }

    pub(super) fn is_spare(&self) -> bool {
        self.state().is_spare
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

    /// If it waits for its other side, its order among those that make room and since when it is
    /// there; the lowest goes first.
    pub(super) fn rank(&self, now: Instant) -> Option<(Order, Instant)> {
        let State {
            at, since, worked, ..
        } = *self.state();
        let is_late = now.saturating_duration_since(since) >= SENT_WITHIN;
        match at {
            At::Busy => None,
            At::Answered | At::Stalled if !is_late => None,
            At::Silent => Some((0, since)),
            At::Stalled => Some((1, since)),
            At::Answered | At::Idle => Some(worked.map_or((2, since), |worked| (3, worked))),
        }
    }

    fn becomes(&self, at: At) {
        let mut state = self.state();
        state.at = at;
        state.since = Instant::now();
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
        let [silent, busy, stalled, idle] = [(); 4].map(|()| Stage::new(false));
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
