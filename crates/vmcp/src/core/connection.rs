//! The task that keeps one backend connected.
//!
//! ```text
//! connect -> list -> up: list again when the backend says so, on an interval, when a request
//!    ^                   has failed on the way
//!    |                   |
//!    +-- at once, then - down: closed, or no list is answered in time any more
//!        with backoff
//! ```

use std::{error::Error, sync::Arc, time::Duration};

use rmcp::{
    ClientHandler, Peer, RoleClient,
    model::{ClientCapabilities, ClientConfig, Implementation},
    service::{NotificationContext, RunningService},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::{debug, info, warn};

use super::{
    BackendSettings, Lists,
    backoff::Backoff,
    doubt::{self, Doubt},
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
    /// How long requests wait for a backend that was there until now. A restart takes less.
    pub back_within: Duration,
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
            back_within: Duration::from_secs(10),
            max_in_flight: 256,
            max_in_flight_per_user: 64,
        }
    }
}

/// So many looks at a user's session that are not answered in time, one after the other, end it.
const MOST_LATE: u32 = 2;

/// How a backend is.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// Not tried to the end yet.
    Connecting,
    Down(Down),
    Up(Arc<Session>),
}

/// No connection.
#[derive(Clone, Debug)]
pub(super) struct Down {
    pub(super) reason: Arc<str>,
    /// What was listed last is still known to be the backend's.
    pub(super) lists: Option<Arc<Lists>>,
    /// When the last attempt failed, or the connection was lost.
    pub(super) since: Instant,
    /// The connection that was lost, if there was one.
    pub(super) lost: Option<Lost>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Lost {
    pub(super) at: Instant,
    /// How long it was there.
    pub(super) lived: Duration,
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
    pub(super) connected_at: Instant,
    /// When the last look began.
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
            Self::Down(down) => down.lists.clone(),
            Self::Up(session) => Some(Arc::clone(&session.lists)),
        }
    }

    fn lost(&self) -> Option<Lost> {
        match self {
            Self::Connecting => None,
            Self::Down(down) => down.lost,
            Self::Up(session) => Some(Lost {
                at: Instant::now(),
                lived: session.connected_at.elapsed(),
            }),
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
    /// Told when the lists may have changed.
    pub(super) look: Arc<Look>,
    pub(super) doubt: Arc<Doubt>,
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
            let wait = match self.connect(lifecycle).await {
                Ok((running, session)) => {
                    let connected_at = session.connected_at;
                    self.down(&self.keep(running, session).await);
                    backoff.after_loss(connected_at.elapsed())
                }
                Err(Unconnected { reason, is_reached }) => {
                    if is_reached {
                        lifecycle = lifecycle.other();
                    }
                    self.down(&reason);
                    backoff.after_failure()
                }
            };
            if self.life != Life::Always {
                return;
            }
            sleep(wait).await;
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
        let raised = self.doubt.raised();
        let looked_at = self.look.begins();
        let lists = self.fetch(peer, left, &Lists::default()).await;
        self.doubt.settle(raised);
        let lists = lists.map_err(|failure| Unconnected {
            reason: not_listed(&failure),
            is_reached: true,
        })?;
        let session = Session {
            peer: peer.clone(),
            is_stateful,
            lifecycle,
            lists: Arc::new(lists),
            connected_at: Instant::now(),
            looked_at,
        };
        Ok((running, session))
    }

    /// Keeps the lists of a connection up to date until it ends, and says why.
    async fn keep(&self, running: Running, session: Session) -> String {
        let mut session = self.up(session, &Lists::default());
        // Dropping the wait ends the connection.
        let mut ended = std::pin::pin!(running.waiting());
        let mut pace = Pace::default();
        let (mut late, mut asked_at) = (0, None);
        loop {
            let relist_at = session.looked_at + self.settings.timing.relist;
            let next = async {
                tokio::select! {
                    () = self.look.asked() => {}
                    () = sleep_until(relist_at), if self.life == Life::Always => {}
                }
                pace.turn().await;
            };
            tokio::select! {
                _ = &mut ended => return "the connection was closed".to_owned(),
                () = self.doubt.is_raised(asked_at) => {
                    asked_at = Some(Instant::now());
                    let raised = self.doubt.raised();
                    let is_gone = !doubt::answers(&session.peer).await;
                    self.doubt.settle(raised);
                    if is_gone && self.life == Life::Always {
                        return "it does not answer".to_owned();
                    }
                    // Requests wait for it.
                    self.state.send_replace(State::Up(Arc::clone(&session)));
                    continue;
                }
                () = next => {}
            }
            let deadline = self.settings.timing.connect;
            let looked_at = self.look.begins();
            pace.looked(looked_at);
            let lists = match self.fetch(&session.peer, deadline, &session.lists).await {
                Ok(lists) => {
                    late = 0;
                    Arc::new(lists)
                }
                // What a user has in a session is lost with it. One that stays silent is of no use, and one
                // that is closed ends by itself.
                Err(failure) => {
                    let is_late = matches!(failure, Failure::Late(_));
                    late = if is_late { late + 1 } else { 0 };
                    if self.life == Life::Always || late == MOST_LATE {
                        return not_listed(&failure);
                    }
                    if is_late {
                        self.look.ask();
                    }
                    Arc::clone(&session.lists)
                }
            };
            let looked = Session {
                peer: session.peer.clone(),
                lists,
                looked_at,
                ..*session
            };
            session = self.up(looked, &session.lists);
        }
    }

    async fn fetch(
        &self,
        peer: &Peer<RoleClient>,
        deadline: Duration,
        before: &Lists,
    ) -> Result<Lists, Failure> {
        // Boxed, as four lists at once make a large future.
        Box::pin(Lists::fetch(peer, &self.settings.name, deadline, before)).await
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
        let down = {
            let state = self.state.borrow();
            Down {
                reason: reason.into(),
                lists: state.lists(),
                since: Instant::now(),
                lost: state.lost(),
            }
        };
        let before = self.state.send_replace(State::Down(down));
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
