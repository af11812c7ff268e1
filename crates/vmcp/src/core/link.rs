//! A connection to a backend, as requests see it.

use std::sync::Arc;

use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    BackendSettings, Lists,
    connection::{Connection, Down, Life, Session, State},
    doubt::Doubt,
    look::{LEAST_GAP, Look},
};

use std::time::Duration;

/// How long a request waits for another look at what the backend lists.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// How long a request waits until it is known whether the connection is dead.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);

/// A connection and the task that keeps it. Dropping it ends the connection.
#[derive(Debug)]
pub(super) struct Link {
    state: watch::Receiver<State>,
    look: Arc<Look>,
    doubt: Arc<Doubt>,
    /// How long it is waited for once it is lost.
    back_within: Duration,
    _connection: AbortOnDropHandle<()>,
}

impl Link {
    /// Starts to connect.
    pub(super) fn start(settings: BackendSettings, life: Life) -> Self {
        let (sender, state) = watch::channel(State::Connecting);
        let look = Arc::new(Look::default());
        let doubt = Arc::new(Doubt::default());
        let back_within = match life {
            Life::Always => settings.timing.back_within,
            Life::Once(_) => Duration::ZERO,
        };
        let connection = Connection {
            settings,
            life,
            state: sender,
            look: Arc::clone(&look),
            doubt: Arc::clone(&doubt),
        };
        Self {
            state,
            look,
            doubt,
            back_within,
            _connection: AbortOnDropHandle::new(tokio::spawn(connection.run())),
        }
    }

    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// How it is down, if it is.
    pub(super) fn down(&self) -> Option<Down> {
        match &*self.state.borrow() {
            State::Down(down) => Some(down.clone()),
            State::Connecting | State::Up(_) => None,
        }
    }

    /// The session, or why there is none.
    pub(super) fn session(&self) -> Result<Arc<Session>, Arc<str>> {
        match &*self.state.borrow() {
            State::Up(session) => Ok(Arc::clone(session)),
            State::Connecting => Err("not connected yet".into()),
            State::Down(down) => Err(Arc::clone(&down.reason)),
        }
    }

    /// What the backend has listed last on this connection, even if it is down now.
    pub(super) fn last_lists(&self) -> Option<Arc<Lists>> {
        self.state.borrow().lists()
    }

    /// As [`Link::session`], once it has been tried to connect. That has a deadline of its own.
    pub(super) async fn settled(&self) -> Result<Arc<Session>, Arc<str>> {
        let mut state = self.state();
        // An error means that the task is gone, and the state says why.
        drop(state.wait_for(State::is_settled).await);
        self.session()
    }

    /// As [`Link::session`]. One that may be dead is asked first, and one that was lost a moment ago
    /// is waited for, as most backends that restart are back soon.
    pub(super) async fn back(&self) -> Result<Arc<Session>, Arc<str>> {
        let mut state = self.state();
        if self.doubt.is_there() {
            let known = state.wait_for(|state| match state {
                State::Up(_) => !self.doubt.is_there(),
                State::Connecting | State::Down(_) => true,
            });
            drop(timeout(KNOWN_WITHIN, known).await);
        }
        let lost = self.down().and_then(|down| down.lost);
        if let Some(lost) = lost {
            let back = state.wait_for(|state| matches!(state, State::Up(_)));
            drop(timeout_at(lost.at + self.back_within, back).await);
        }
        self.session()
    }

    /// Asks for another look at what the backend lists.
    pub(super) fn look(&self) {
        self.look.ask();
    }

    /// A request has failed on its way: the connection may be dead.
    pub(super) fn doubt(&self) {
        self.doubt.raise();
    }

    /// Whether the backend's lists hold what `has` looks for.
    ///
    /// If they do not it may be new, so they are looked at again, unless that was within the last
    /// second: names that do not exist must not become load.
    pub(super) async fn lists(&self, has: impl Fn(&Lists) -> bool) -> Result<bool, Arc<str>> {
        let session = self.session()?;
        if has(&session.lists) {
            return Ok(true);
        }
        if !self.look.is_wanted() && session.looked_at.elapsed() < LEAST_GAP {
            return Ok(false);
        }
        let asked_at = Instant::now();
        self.look.ask();
        let mut state = self.state();
        let looked = state.wait_for(|state| match state {
            State::Up(session) => session.looked_at >= asked_at,
            State::Connecting | State::Down(..) => true,
        });
        // If it takes longer, what is known now must do.
        drop(timeout(LOOK_WITHIN, looked).await);
        Ok(has(&self.session()?.lists))
    }
}
