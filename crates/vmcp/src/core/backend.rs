//! One backend, as requests see it.

use std::sync::Arc;

use rmcp::{Peer, RoleClient, ServiceError};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::{
    BackendName, Timing, Transport,
    connection::{Connection, Session, State},
    metrics::{Metrics, Outcome},
};
use crate::VmcpError;

/// What must be known of a backend.
#[derive(Clone, Debug)]
pub struct BackendSettings {
    /// Its name, which prefixes the names of its tools and prompts.
    pub name: BackendName,
    /// How it is reached.
    pub transport: Transport,
    /// How patient this server is with it.
    pub timing: Timing,
}

/// A backend and the task that keeps it connected.
#[derive(Debug)]
pub(super) struct Backend {
    name: BackendName,
    timing: Timing,
    state: watch::Receiver<State>,
    look: Arc<Notify>,
    metrics: Metrics,
    _connection: AbortOnDropHandle<()>,
}

impl Backend {
    /// Starts to connect.
    pub(super) fn start(settings: BackendSettings) -> Self {
        let (name, timing) = (settings.name.clone(), settings.timing);
        let (sender, state) = watch::channel(State::Connecting);
        let look = Arc::new(Notify::new());
        let connection = Connection {
            settings,
            state: sender,
            look: Arc::clone(&look),
        };
        Self {
            name,
            timing,
            state,
            look,
            metrics: Metrics::new(),
            _connection: AbortOnDropHandle::new(tokio::spawn(connection.run())),
        }
    }

    pub(super) const fn name(&self) -> &BackendName {
        &self.name
    }

    pub(super) const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// The connection, if there is one.
    pub(super) fn session(&self) -> Result<Arc<Session>, VmcpError> {
        let reason = match &*self.state.borrow() {
            State::Up(session) => return Ok(Arc::clone(session)),
            State::Connecting => "not connected yet".to_owned(),
            State::Down(reason) => reason.to_string(),
        };
        Err(VmcpError::Unavailable {
            backend: self.name.to_string(),
            reason,
        })
    }

    /// Sends one request under the backend's deadline, once: it may have run even if no answer
    /// came.
    pub(super) async fn ask<T>(
        &self,
        send: impl AsyncFnOnce(Peer<RoleClient>) -> Result<T, ServiceError>,
    ) -> Result<T, VmcpError> {
        let session = self.session().inspect_err(|_| self.metrics.not_sent())?;
        let deadline = self.timing.request;
        let sent_at = Instant::now();
        let answered = timeout(deadline, send(session.peer.clone())).await;
        let outcome = match &answered {
            Ok(Ok(_)) => Outcome::Ok,
            Ok(Err(ServiceError::McpError(_))) => Outcome::Error,
            Ok(Err(_)) => Outcome::Failed,
            Err(_) => Outcome::Timeout,
        };
        self.metrics.sent(outcome, sent_at.elapsed());
        let reason = match answered {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(ServiceError::McpError(error))) => return Err(VmcpError::Backend(error)),
            Ok(Err(error)) => {
                self.look.notify_one();
                // It names addresses, which are none of the caller's.
                warn!(backend = %self.name, %error, "a request has failed on its way");
                "the connection broke".to_owned()
            }
            Err(_) => format!("no answer within {deadline:?}"),
        };
        Err(VmcpError::Failed {
            backend: self.name.to_string(),
            reason,
        })
    }
}
