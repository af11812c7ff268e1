//! What a connection is at, as far as it matters who makes room for others.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A connection that still has something to send or to take makes no room sooner.
const SENT_WITHIN: Duration = Duration::from_secs(1);

/// The stage of one connection. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Stage(Arc<Mutex<State>>);

#[derive(Clone, Copy, Debug)]
struct State {
    at: At,
    since: Instant,
    /// Whether its last request was work.
    is_work: bool,
    /// When its last work ended.
    worked: Option<Instant>,
    is_spare: bool,
    /// Whether it has made room, and only its task has not ended yet.
    is_going: bool,
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
        self.0.state().is_work = true;
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
    /// The head of a request has come, and its body has not.
    Half,
    /// A whole request is being answered.
    Busy,
    /// An answer is made, and may not be sent.
    Answered,
    /// The other side does not read.
    Stalled,
    /// All that was asked is answered.
    Idle,
}

/// Who makes room first: those that never spoke, then those that do not send what they began, then
/// those that do not read, then those that have done no work, then those that have just come, or begun
/// to send what may be their first request, then the others.
pub(super) type Order = u8;

impl Stage {
    pub(super) fn new(is_spare: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            at: At::Silent,
            since: Instant::now(),
            is_work: false,
            worked: None,
            is_spare,
            is_going: false,
        })))
    }

    pub(super) fn is_spare(&self) -> bool {
        self.state().is_spare
    }

    pub(super) fn is_silent(&self) -> bool {
        self.state().at == At::Silent
    }

    /// The head of a request has come. The request must not be begun if this is false: the connection
    /// has made room meanwhile, and nobody would be told what became of the request.
    pub(super) fn asked(&self) -> bool {
        self.becomes(At::Half);
        let mut state = self.state();
        state.is_work = false;
        !state.is_going
    }

    /// Makes room, if it may by [`rank`](Self::rank); then no request is begun any more.
    pub(super) fn goes(&self, now: Instant) -> bool {
        let mut state = self.state();
        state.is_going |= state.rank(now).is_some();
        state.is_going
    }

    /// Its body has come, too.
    pub(super) fn whole(&self) {
        if self.state().at == At::Half {
            self.becomes(At::Busy);
        }
    }

    /// Whether its other side has sent all that it must, and waits.
    pub(super) fn is_busy(&self) -> bool {
        self.state().at == At::Busy
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
        self.state().rank(now)
    }

    fn becomes(&self, at: At) {
        let mut state = self.state();
        let now = Instant::now();
        state.at = at;
        state.since = now;
        if state.is_work && matches!(at, At::Answered | At::Idle) {
            state.worked = Some(now);
        }
    }

    /// No update is ever left half done by a panic, so a poisoned lock is as good as any.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn rank(&self, now: Instant) -> Option<(Order, Instant)> {
        let Self {
            at, since, worked, ..
        } = *self;
        let is_late = now.saturating_duration_since(since) >= SENT_WITHIN;
        match at {
            At::Busy => None,
            At::Answered | At::Stalled if !is_late => None,
            At::Silent if is_late => Some((0, since)),
            At::Half if is_late => Some((1, since)),
            At::Silent | At::Half => worked.is_none().then_some((4, since)),
            At::Stalled => Some((2, since)),
            At::Answered | At::Idle => Some(worked.map_or((3, since), |worked| (5, worked))),
        }
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
            stage.whole();
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

    #[tokio::test(start_paused = true)]
    async fn whoever_has_sent_half_a_request_makes_room_after_the_silent() {
        let [silent, half] = [(); 2].map(|()| Stage::new(false));
        half.asked();
        let rank = |of: &Stage| of.rank(Instant::now());
        let soon = rank(&half);
        assert!(soon.is_some(), "it may be its first");
        advance(SENT_WITHIN).await;
        assert!(rank(&silent) < rank(&half) && rank(&half) < soon);
        assert!(rank(&Stage::new(false)) > rank(&half), "it has just come");
        half.whole();
        assert_eq!(rank(&half), None);
        Connection::of(half.clone()).worked();
        half.answered();
        half.sent();
        assert!(soon < rank(&half), "it has worked");
        half.asked();
        assert_eq!(rank(&half), None, "too soon");
        advance(SENT_WITHIN).await;
        assert!(rank(&half) < soon);
    }

    /// It was the first to go, as its work counted from its beginning.
    #[tokio::test(start_paused = true)]
    async fn whoever_has_just_ended_a_long_call_is_idle_for_least() {
        let [long, short, probe] = [(); 3].map(|()| Stage::new(false));
        let ask = |stage: &Stage, is_work: bool| {
            stage.asked();
            stage.whole();
            if is_work {
                Connection::of(stage.clone()).worked();
            }
        };
        let end = |stage: &Stage| {
            stage.answered();
            stage.sent();
        };
        ask(&long, true);
        advance(SENT_WITHIN).await;
        ask(&short, true);
        end(&short);
        advance(SENT_WITHIN).await;
        end(&long);
        ask(&probe, false);
        end(&probe);
        let rank = |of: &Stage| of.rank(Instant::now());
        assert!(rank(&probe) < rank(&short) && rank(&short) < rank(&long));
        advance(SENT_WITHIN).await;
        // A probe is no work, so it is as idle as before.
        ask(&short, false);
        end(&short);
        assert!(rank(&short) < rank(&long));
    }

    /// Its task may be on its way to the request that it was just about to get.
    #[tokio::test(start_paused = true)]
    async fn whoever_makes_room_begins_no_request() {
        let [goes, busy] = [(); 2].map(|()| Stage::new(false));
        assert!(busy.asked());
        busy.whole();
        assert!(!busy.goes(Instant::now()) && busy.asked());
        assert!(goes.goes(Instant::now()) && !goes.asked());
    }
}
