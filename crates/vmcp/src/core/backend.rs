//! One backend, as requests see it.

use std::sync::Arc;

use rmcp::{Peer, RoleClient, ServiceError, model::RequestMetaObject};
use tokio::{
    sync::watch,
    time::{Duration, Instant, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use toolgate_limit::Identity;
use tracing::warn;

use super::{
    BackendName, Lists, Timing, Transport,
    call::{Answer, Asked, Call, Destination},
    connection::{Connection, Session, State},
    failure::Failure,
    look::{LEAST_GAP, Look},
    metrics::{Metrics, Outcome},
    slots::{Slot, Slots},
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

/// How long a request waits for another look at what the backend lists.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// A backend and the task that keeps it connected.
#[derive(Debug)]
pub(super) struct Backend {
    name: BackendName,
    timing: Timing,
    state: watch::Receiver<State>,
    look: Arc<Look>,
    /// One for each request that may be in flight.
    slots: Arc<Slots>,
    metrics: Metrics,
    destination: Destination,
    _connection: AbortOnDropHandle<()>,
}

impl Backend {
    /// Starts to connect.
    pub(super) fn start(settings: BackendSettings) -> Self {
        let (name, timing) = (settings.name.clone(), settings.timing);
        let destination = Destination::of(&settings);
        let (sender, state) = watch::channel(State::Connecting);
        let look = Arc::new(Look::default());
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
            slots: Slots::new(timing.max_in_flight, timing.max_in_flight_per_user),
            metrics: Metrics::new(),
            destination,
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

    /// A seat for a request of `identity`, if the backend is up and a slot is free.
    pub(super) fn seat(&self, identity: &Identity) -> Result<Seat<'_>, VmcpError> {
        self.session_to_use()?;
        let slot = self.slots.take(identity.into()).map_err(|full| {
            self.metrics.not_sent();
            VmcpError::Failed {
                backend: self.name.to_string(),
                reason: full.to_string(),
            }
        })?;
        Ok(Seat {
            backend: self,
            _slot: slot,
        })
    }

    /// As [`Backend::session`], for a request that goes no further without one.
    fn session_to_use(&self) -> Result<Arc<Session>, VmcpError> {
        self.session().inspect_err(|_| self.metrics.not_sent())
    }
}

/// The place of one request at a backend, from before it is paid for until it has its answer.
#[derive(Debug)]
pub(super) struct Seat<'a> {
    backend: &'a Backend,
    _slot: Slot,
}

impl Seat<'_> {
    /// Whether the backend's lists hold what `has` looks for.
    ///
    /// If they do not it may be new, so they are looked at again, unless that was within the last
    /// second: names that do not exist must not become load.
    pub(super) async fn lists(&self, has: impl Fn(&Lists) -> bool) -> Result<bool, VmcpError> {
        let backend = self.backend;
        let session = backend.session_to_use()?;
        if has(&session.lists) {
            return Ok(true);
        }
        if !backend.look.is_wanted() && session.looked_at.elapsed() < LEAST_GAP {
            return Ok(false);
        }
        let asked_at = Instant::now();
        backend.look.ask();
        let mut state = backend.state();
        let looked = state.wait_for(|state| match state {
            State::Up(session) => session.looked_at >= asked_at,
            State::Connecting | State::Down(_) => true,
        });
        // If it takes longer, what is known now must do.
        drop(timeout(LOOK_WITHIN, looked).await);
        Ok(has(&backend.session_to_use()?.lists))
    }

    /// Sends one request under the backend's deadline, once: it may have run even if no answer
    /// came. Dropping it tells the backend that it is no longer wanted. What is sent has the `_meta`
    /// that `send` is given: `meta`, and where the call belongs in a trace.
    pub(super) async fn ask<T: Answer>(
        self,
        asked: Asked<'_>,
        meta: Option<RequestMetaObject>,
        send: impl AsyncFnOnce(Peer<RoleClient>, Option<RequestMetaObject>) -> Result<T, ServiceError>,
    ) -> Result<T, VmcpError> {
        let backend = self.backend;
        let session = backend.session_to_use()?;
        let deadline = backend.timing.request;
        let flight = backend.metrics.send();
        let call = Call::begin(asked, &backend.destination);
        let answer = send(session.peer.clone(), call.meta(meta));
        let answered = timeout(deadline, answer).await;
        let answered = answered.map_or(Err(Failure::Late(deadline)), |answered| {
            // It may name addresses, which are none of the caller's.
            let log = |error: &ServiceError| {
                if !matches!(error, ServiceError::McpError(_)) {
                    warn!(backend = %backend.name, %error, "a request has failed on its way");
                }
            };
            answered.inspect_err(log).map_err(Failure::of)
        });
        call.end(&answered);
        let outcome = match &answered {
            Ok(_) => Outcome::Ok,
            Err(Failure::Refused(_)) => Outcome::Error,
            Err(Failure::Unusable(_) | Failure::Broken) => Outcome::Failed,
            Err(Failure::Late(_)) => Outcome::Timeout,
        };
        flight.end(outcome);
        match answered {
            Ok(answer) => Ok(answer),
            Err(Failure::Refused(error)) => Err(VmcpError::Backend(error)),
            Err(failure) => {
                if matches!(failure, Failure::Broken) {
                    backend.look.ask();
                }
                Err(VmcpError::Failed {
                    backend: backend.name.to_string(),
                    reason: failure.to_string(),
                })
            }
        }
    }
}
