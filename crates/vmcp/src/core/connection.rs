//! The task that keeps one backend connected.
//!
//! ```text
//! connect -> list -> up: list again when the backend says so, on an interval, when a request
//!    ^                   has failed on the way
//!    |                   |
//!    +---- backoff <---- down: closed, or a list that fails or comes too late
//! ```

use std::{error::Error, sync::Arc, time::Duration};

use rmcp::{
    ClientHandler, Peer, RoleClient,
    model::{ClientCapabilities, ClientConfig, Implementation},
    service::{NotificationContext, RunningService},
};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::{BackendSettings, Lists, backoff::Backoff, transport::Lifecycle};

/// How long things may take, and how often they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The deadline of a request to the backend.
    pub request: Duration,
    /// The deadline of connecting and listing, together.
    pub connect: Duration,
    /// How often lists are fetched without being told to; this also finds dead connections.
    pub relist: Duration,
    /// The wait after the first failure; it doubles from there.
    pub first_backoff: Duration,
    /// The longest wait between two attempts.
    pub longest_backoff: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            request: Duration::from_mins(1),
            connect: Duration::from_secs(30),
            relist: Duration::from_secs(30),
            first_backoff: Duration::from_millis(500),
            longest_backoff: Duration::from_secs(30),
        }
    }
}

/// How a backend is.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// Not tried to the end yet.
    Connecting,
    /// Not connected, and why.
    Down(Arc<str>),
    Up(Arc<Session>),
}

/// A connection, and what the backend offers on it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) peer: Peer<RoleClient>,
    pub(super) lists: Lists,
}

impl State {
    pub(super) const fn is_settled(&self) -> bool {
        !matches!(self, Self::Connecting)
    }
}

/// Runs until it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) settings: BackendSettings,
    pub(super) state: watch::Sender<State>,
    /// Told when the lists may have changed, or the connection may be dead.
    pub(super) look: Arc<Notify>,
}

impl Connection {
    pub(super) async fn run(self) {
        let timing = self.settings.timing;
        let mut backoff = Backoff::new(timing.first_backoff, timing.longest_backoff);
        let mut lifecycle = Lifecycle::Initialize;
        loop {
            let reason = match self.connect(lifecycle).await {
                Ok((running, lists)) => {
                    backoff.reset();
                    self.keep(running, lists).await
                }
                Err(reason) => {
                    lifecycle = lifecycle.other();
                    reason
                }
            };
            self.down(&reason);
            sleep(backoff.after_failure()).await;
        }
    }

    async fn connect(&self, lifecycle: Lifecycle) -> Result<(Running, Lists), String> {
        let listener = Listener(Arc::clone(&self.look));
        let attempt = async {
            let connected = self.settings.transport.connect(listener, lifecycle).await;
            let running = connected.map_err(|error| chain(&error))?;
            let lists = Lists::fetch(running.peer(), &self.settings.name).await;
            Ok((running, lists.map_err(|error| chain(&error))?))
        };
        let deadline = self.settings.timing.connect;
        timeout(deadline, attempt)
            .await
            .unwrap_or_else(|_| Err(format!("not connected within {deadline:?}")))
    }

    /// Keeps the lists of a connection up to date until it ends, and says why.
    async fn keep(&self, running: Running, lists: Lists) -> String {
        let peer = running.peer().clone();
        self.up(&peer, lists);
        // Dropping the wait ends the connection.
        let mut ended = std::pin::pin!(running.waiting());
        loop {
            tokio::select! {
                _ = &mut ended => return "the connection was closed".to_owned(),
                () = self.look.notified() => {}
                () = sleep(self.settings.timing.relist) => {}
            }
            let deadline = self.settings.timing.connect;
            match timeout(deadline, Lists::fetch(&peer, &self.settings.name)).await {
                Ok(Ok(lists)) => self.up(&peer, lists),
                Ok(Err(error)) => return chain(&error),
                Err(_) => return format!("not listed within {deadline:?}"),
            }
        }
    }

    fn up(&self, peer: &Peer<RoleClient>, lists: Lists) {
        let (backend, tools) = (&self.settings.name, lists.tools.len());
        let session = Session {
            peer: peer.clone(),
            lists,
        };
        let before = self.state.send_replace(State::Up(Arc::new(session)));
        if !matches!(before, State::Up(_)) {
            info!(%backend, tools, "backend is up");
        }
    }

    /// Says so once, however often it is tried again.
    fn down(&self, reason: &str) {
        let backend = &self.settings.name;
        let before = self.state.send_replace(State::Down(reason.into()));
        if !matches!(before, State::Down(_)) {
            warn!(%backend, reason, "backend is down");
        }
    }
}

type Running = RunningService<RoleClient, Listener>;

/// Hears what the backend says on its own account.
#[derive(Clone, Debug)]
struct Listener(Arc<Notify>);

impl ClientHandler for Listener {
    fn get_info(&self) -> ClientConfig {
        let this = Implementation::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), this)
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.0.notify_one();
    }

    async fn on_prompt_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.0.notify_one();
    }

    async fn on_resource_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.0.notify_one();
    }
}

/// `error` and all that lies beneath it.
fn chain(error: &dyn Error) -> String {
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
