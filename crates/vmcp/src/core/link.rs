//! A connection to a backend, as requests see it.

use std::sync::Arc;

use tokio::{sync::watch, time::Instant, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{
    BackendSettings, Lists,
    connection::{Connection, Life, Session, State},
    look::{LEAST_GAP, Look},
};

use std::time::Duration;

/// How long a request waits for another look at what the backend lists.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// A connection and the task that keeps it. Dropping it ends the connection.
#[derive(Debug)]
pub(super) struct Link {
    state: watch::Receiver<State>,
    look: Arc<Look>,
    _connection: AbortOnDropHandle<()>,
}

impl Link {
    /// Starts to connect.
    pub(super) fn start(settings: BackendSettings, life: Life) -> Self {
        let (sender, state) = watch::channel(State::Connecting);
        let look = Arc::new(Look::default());
        let connection = Connection {
            settings,
            life,
            state: sender,
            look: Arc::clone(&look),
        };
        Self {
            state,
            look,
            _connection: AbortOnDropHandle::new(tokio::spawn(connection.run())),
        }
    }

    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    pub(super) fn is_down(&self) -> bool {
        matches!(&*self.state.borrow(), State::Down(..))
    }

    /// The session, or why there is none.
    pub(super) fn session(&self) -> Result<Arc<Session>, Arc<str>> {
        match &*self.state.borrow() {
            State::Up(session) => Ok(Arc::clone(session)),
            State::Connecting => Err("not connected yet".into()),
            State::Down(reason, _) => Err(Arc::clone(reason)),
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

    /// Asks for another look at what the backend lists, which also finds a dead connection.
    pub(super) fn look(&self) {
        self.look.ask();
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
