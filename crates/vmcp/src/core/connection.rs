//! The task that keeps one backend connected.
//!
//! ```text
//! connect -> list -> up: list again when the backend says so, on an interval, when a request
//!    ^                   has failed on the way
//!    |                   |
//!    +---- backoff <---- down: closed, or no list is answered in time any more
//! ```

use std::{error::Error, sync::Arc, time::Duration};

use rmcp::{
    ClientHandler, Peer, RoleClient,
    model::{ClientCapabilities, ClientConfig, Implementation},
    service::{NotificationContext, RunningService},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tracing::{debug, info, warn};

use super::{
    BackendSettings, Lists,
    backoff::Backoff,
    failure::Failure,
    look::{Look, Pace},
    transport::Lifecycle,
};

/// How long things may take, how often they are tried, and how many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The deadline of a request to the backend.
    pub request: Duration,
    /// The deadline of connecting and listing, together.
    pub connect: Duration,
    /// How often lists are fetched without being told to; this also finds dead connections. Not
    /// more often than once a second.
    pub relist: Duration,
    /// The wait after the first failure; it doubles from there.
    pub first_backoff: Duration,
    /// The longest wait between two attempts.
    pub longest_backoff: Duration,
    /// Requests to the backend that may be in flight at a time.
    pub max_in_flight: usize,
    /// Requests of one caller among them.
    pub max_in_flight_per_user: usize,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            request: Duration::from_mins(1),
            connect: Duration::from_secs(30),
            relist: Duration::from_secs(30),
            first_backoff: Duration::from_millis(500),
            longest_backoff: Duration::from_secs(30),
            max_in_flight: 256,
            max_in_flight_per_user: 64,
        }
    }
}

/// How a backend is.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// Not tried to the end yet.
    Connecting,
    /// Not connected, and why. What was listed last is still known to be the backend's.
    Down(Arc<str>, Option<Arc<Lists>>),
    Up(Arc<Session>),
}

/// A connection, and what the backend offers on it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) peer: Peer<RoleClient>,
    /// Whether the backend may keep something in the session.
    pub(super) is_stateful: bool,
    /// How it began.
    pub(super) lifecycle: Lifecycle,
    pub(super) lists: Arc<Lists>,
    /// When the look began that found `lists`.
    pub(super) looked_at: Instant,
}

impl State {
    pub(super) const fn is_settled(&self) -> bool {
        !matches!(self, Self::Connecting)
    }

    /// What was listed last.
    pub(super) fn lists(&self) -> Option<Arc<Lists>> {
        match self {
            Self::Connecting => None,
            Self::Down(_, lists) => lists.clone(),
            Self::Up(session) => Some(Arc::clone(&session.lists)),
        }
    }
}

/// How long a connection is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It is made again when it ends, and its lists are fetched on an interval.
    Always,
    /// It is a user's: it ends once, and its lists are fetched when it is used. It begins as the
    /// connection that health is known by did.
    Once(Lifecycle),
}

/// Runs until it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) settings: BackendSettings,
    pub(super) life: Life,
    pub(super) state: watch::Sender<State>,
    /// Told when the lists may have changed, or the connection may be dead.
    pub(super) look: Arc<Look>,
}

impl Connection {
    pub(super) async fn run(self) {
        let timing = self.settings.timing;
        let mut backoff = Backoff::new(timing.first_backoff, timing.longest_backoff);
        let mut lifecycle = match self.life {
            Life::Always => Lifecycle::Initialize,
            Life::Once(lifecycle) => lifecycle,
        };
        loop {
            let reason = match self.connect(lifecycle).await {
                Ok((running, session)) => {
                    backoff.reset();
                    self.keep(running, session).await
                }
                Err(Unconnected { reason, is_reached }) => {
                    if is_reached {
                        lifecycle = lifecycle.other();
                    }
                    reason
                }
            };
            self.down(&reason);
            if self.life != Life::Always {
                return;
            }
            sleep(backoff.after_failure()).await;
        }
    }

    async fn connect(&self, lifecycle: Lifecycle) -> Result<(Running, Session), Unconnected> {
        let started = Instant::now();
        let deadline = self.settings.timing.connect;
        let listener = Listener(Arc::clone(&self.look));
        let connect = self.settings.transport.connect(listener, lifecycle);
        let (running, is_stateful) = timeout(deadline, connect)
            .await
            .map_err(|_| Unconnected {
                reason: format!("not connected within {deadline:?}"),
                is_reached: true,
            })?
            .map_err(|error| Unconnected {
                reason: chain(&error),
                is_reached: error.is_reached(),
            })?;
        let left = deadline.saturating_sub(started.elapsed());
        let peer = running.peer();
        let none = Lists::default();
        let session = self.look(peer, (is_stateful, lifecycle), left, &none);
        let session = session.await.map_err(|failure| Unconnected {
            reason: not_listed(&failure),
            is_reached: true,
        })?;
        Ok((running, session))
    }

    /// Keeps the lists of a connection up to date until it ends, and says why.
    async fn keep(&self, running: Running, session: Session) -> String {
        let peer = running.peer().clone();
        let mut session = self.up(session, &Lists::default());
        // Dropping the wait ends the connection.
        let mut ended = std::pin::pin!(running.waiting());
        let mut pace = Pace::default();
        loop {
            let next = async {
                tokio::select! {
                    () = self.look.asked() => {}
                    () = sleep(self.settings.timing.relist), if self.life == Life::Always => {}
                }
                pace.turn().await;
            };
            tokio::select! {
                _ = &mut ended => return "the connection was closed".to_owned(),
                () = next => {}
            }
            let deadline = self.settings.timing.connect;
            let kind = (session.is_stateful, session.lifecycle);
            let looked = self.look(&peer, kind, deadline, &session.lists);
            match looked.await {
                Ok(looked) => {
                    pace.looked(looked.looked_at);
                    session = self.up(looked, &session.lists);
                }
                Err(failure) => return not_listed(&failure),
            }
        }
    }

    async fn look(
        &self,
        peer: &Peer<RoleClient>,
        (is_stateful, lifecycle): (bool, Lifecycle),
        deadline: Duration,
        before: &Lists,
    ) -> Result<Session, Failure> {
        let looked_at = self.look.begins();
        // Boxed, as four lists at once make a large future.
        let lists = Box::pin(Lists::fetch(peer, &self.settings.name, deadline, before)).await?;
        Ok(Session {
            peer: peer.clone(),
            is_stateful,
            lifecycle,
            lists: Arc::new(lists),
            looked_at,
        })
    }

    fn up(&self, session: Session, before: &Lists) -> Arc<Session> {
        let (backend, tools) = (&self.settings.name, session.lists.tools.len());
        let session = Arc::new(session);
        let was = self.state.send_replace(State::Up(Arc::clone(&session)));
        match self.life {
            Life::Once(_) => debug!(%backend, tools, "a user's session is up"),
            Life::Always => {
                if !matches!(was, State::Up(_)) {
                    info!(%backend, tools, "backend is up");
                }
                session.lists.faults.warn(&before.faults, backend);
            }
        }
        session
    }

    /// Says so once, however often it is tried again.
    fn down(&self, reason: &str) {
        let backend = &self.settings.name;
        let lists = self.state.borrow().lists();
        let before = self.state.send_replace(State::Down(reason.into(), lists));
        match (self.life, before) {
            (Life::Once(_), State::Up(_)) => debug!(%backend, reason, "a user's session has ended"),
            (Life::Once(_), _) => warn!(%backend, reason, "a user's session could not be opened"),
            (Life::Always, State::Down(..)) => {}
            (Life::Always, _) => warn!(%backend, reason, "backend is down"),
        }
    }
}

/// Why there is no connection.
#[derive(Debug)]
struct Unconnected {
    reason: String,
    /// Whether it may be for the way in which it was begun.
    is_reached: bool,
}

type Running = RunningService<RoleClient, Listener>;

/// Hears what the backend says on its own account.
#[derive(Clone, Debug)]
struct Listener(Arc<Look>);

impl ClientHandler for Listener {
    fn get_info(&self) -> ClientConfig {
        let this = Implementation::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), this)
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.0.ask();
    }

    async fn on_prompt_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.0.ask();
    }

    async fn on_resource_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.0.ask();
    }
}

fn not_listed(failure: &Failure) -> String {
    format!("what it offers could not be listed: {failure}")
}

/// `error` and all that lies beneath it.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}
