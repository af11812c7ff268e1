//! One backend, as requests see it.

use std::{fmt, sync::Arc};

use rmcp::{Peer, RoleClient, ServiceError, model::RequestMetaObject};
use tokio::{sync::watch, time::timeout};
use toolgate_limit::Identity;
use tracing::warn;

use super::{
    BackendName, Lists, Sessions, Timing, Transport,
    call::{Answer, Asked, Call, Destination},
    connection::{Life, Session, State},
    failure::Failure,
    link::Link,
    metrics::{Metrics, Outcome},
    sessions::{Lease, NoSession, UserSessions},
    slots::{Slot, Slots},
    transport::Lifecycle,
    user::User,
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
    /// Whose sessions it sees.
    pub sessions: Sessions,
}

impl BackendSettings {
    /// The most files that connections to it take, beside those of requests in flight.
    pub(crate) const fn files(&self) -> usize {
        let of_users = match self.sessions {
            Sessions::Shared => 0,
            Sessions::PerUser { most, .. } => most,
        };
        let of_one = match self.transport {
            // Its stream of notifications, and a connection that waits for the next request.
            Transport::Http { .. } => 2,
            // Two pipes, and a handle of the process.
            Transport::Command { .. } => 3,
        };
        of_users.saturating_add(1).saturating_mul(of_one)
    }
}

/// A backend and its connections.
#[derive(Debug)]
pub(super) struct Backend {
    name: BackendName,
    timing: Timing,
    /// Where its health and its lists are known by, and the way of requests that need no session.
    link: Link,
    /// None if all users share `link`.
    sessions: Option<UserSessions>,
    /// One for each request that may be in flight.
    slots: Arc<Slots>,
    metrics: Metrics,
    destination: Destination,
}

impl Backend {
    /// Starts to connect.
    pub(super) fn start(settings: BackendSettings) -> Self {
        let (name, timing) = (settings.name.clone(), settings.timing);
        let destination = Destination::of(&settings);
        let metrics = Metrics::new();
        let sessions = match settings.sessions {
            Sessions::Shared => None,
            Sessions::PerUser { most, idle } => {
                let settings = settings.clone();
                Some(UserSessions::new(settings, most, idle, metrics.clone()))
            }
        };
        Self {
            name,
            timing,
            link: Link::start(settings, Life::Always),
            sessions,
            slots: Slots::new(timing.max_in_flight, timing.max_in_flight_per_user),
            metrics,
            destination,
        }
    }

    pub(super) const fn name(&self) -> &BackendName {
        &self.name
    }

    pub(super) const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.link.state()
    }

    /// What `identity` sees of the backend, if it is up: the user's own session if that is open, else
    /// one in which nobody has done anything.
    pub(super) fn view(&self, identity: &Identity) -> Option<Arc<Session>> {
        let session = self.link.session().ok()?;
        let own = self.sessions_if(&session);
        let own = own.and_then(|sessions| sessions.of(&identity.into()));
        Some(own.unwrap_or(session))
    }

    /// How well `uri` fits what `identity` sees of the backend, or has been seen of it last if it is
    /// down: what is its own is no other's meanwhile. See [`Lists::fit_of`].
    pub(super) fn fit_of(&self, identity: &Identity, uri: &str) -> usize {
        let lists = match self.view(identity) {
            Some(session) => Some(Arc::clone(&session.lists)),
            None => self.link.last_lists(),
        };
        lists.map_or(0, |lists| lists.fit_of(uri))
    }

    /// A seat for a request of `identity`, if the backend is up or comes back in a moment, a slot is
    /// free, and the user has a session or may get one.
    pub(super) async fn seat(&self, identity: &Identity) -> Result<Seat<'_>, VmcpError> {
        let user = User::from(identity);
        let slot = self.slots.take(user.clone());
        let slot = slot.map_err(|full| self.full(&full))?;
        let session = self.link.back().await;
        let session = session.map_err(|reason| self.unavailable(&reason))?;
        let place = match self.sessions_if(&session) {
            None => Place::Shared,
            Some(sessions) => match sessions.lease(&user).map_err(|none| self.none(&none))? {
                Some(lease) => {
                    self.opened(&lease).await?;
                    Place::Own(lease)
                }
                None => Place::ToOpen(sessions, user, session.lifecycle),
            },
        };
        Ok(Seat {
            backend: self,
            place,
            _slot: slot,
        })
    }

    /// Waits until the session of `lease` is open.
    async fn opened(&self, lease: &Lease) -> Result<(), VmcpError> {
        let settled = lease.link().settled().await;
        settled.map_err(|reason| self.unavailable(&reason))?;
        let back = lease.link().back().await;
        back.map_err(|reason| self.unavailable(&reason))?;
        Ok(())
    }

    /// A request goes no further, as its user has no session.
    fn none(&self, none: &NoSession) -> VmcpError {
        match none {
            NoSession::AllInUse(_) | NoSession::AllTaken(_) => self.full(none),
            NoSession::Failed(_) => self.unavailable(&none.to_string()),
        }
    }

    /// The sessions of its users, if it has such.
    fn sessions_if(&self, session: &Session) -> Option<&UserSessions> {
        self.sessions.as_ref().filter(|_| session.is_stateful)
    }

    /// A request goes no further, as there is no connection.
    fn unavailable(&self, reason: &str) -> VmcpError {
        self.metrics.not_sent();
        VmcpError::Unavailable {
            backend: self.name.to_string(),
            reason: reason.to_owned(),
        }
    }

    /// A request goes no further, as a bound is reached.
    fn full(&self, full: &dyn fmt::Display) -> VmcpError {
        self.metrics.not_sent();
        VmcpError::Failed {
            backend: self.name.to_string(),
            reason: full.to_string(),
        }
    }
}

/// The place of one request at a backend, from before it is paid for until it has its answer.
#[derive(Debug)]
pub(super) struct Seat<'a> {
    backend: &'a Backend,
    place: Place<'a>,
    _slot: Slot,
}

/// Where a request goes.
#[derive(Debug)]
enum Place<'a> {
    /// Over the connection of all.
    Shared,
    /// To the user's session.
    Own(Lease),
    /// To a session that the user does not have yet. It is opened when the request is paid for: who is
    /// always denied must not take the places of others.
    ToOpen(&'a UserSessions, User, Lifecycle),
}

impl Seat<'_> {
    /// The connection that the request goes to, or that shows what a new session lists.
    fn link(&self) -> &Link {
        match &self.place {
            Place::Own(lease) => lease.link(),
            Place::Shared | Place::ToOpen(..) => &self.backend.link,
        }
    }

    /// Opens the user's session, if there is none yet.
    async fn open(&mut self, is_paid: bool) -> Result<(), VmcpError> {
        if let Place::ToOpen(sessions, user, lifecycle) = &self.place {
            let lease = sessions.open(user.clone(), *lifecycle, is_paid);
            let lease = lease.map_err(|none| self.backend.none(&none))?;
            self.backend.opened(&lease).await?;
            self.place = Place::Own(lease);
        }
        Ok(())
    }

    /// Whether what the backend lists to the user holds what `has` looks for; see [`Link::lists`].
    pub(super) async fn lists(&self, has: impl Fn(&Lists) -> bool) -> Result<bool, VmcpError> {
        let has = self.link().lists(has).await;
        has.map_err(|reason| self.backend.unavailable(&reason))
    }

    /// Sends one request under the backend's deadline, once: it may have run even if no answer
    /// came. Dropping it tells the backend that it is no longer wanted. What is sent has the `_meta`
    /// that `send` is given: `meta`, and where the call belongs in a trace.
    pub(super) async fn ask<T: Answer>(
        mut self,
        asked: Asked<'_>,
        meta: Option<RequestMetaObject>,
        send: impl AsyncFnOnce(Peer<RoleClient>, Option<RequestMetaObject>) -> Result<T, ServiceError>,
    ) -> Result<T, VmcpError> {
        // Completions have no limit, so nobody pays for them.
        self.open(!matches!(asked, Asked::Completion)).await?;
        let backend = self.backend;
        let session = self.link().session();
        let session = session.map_err(|reason| backend.unavailable(&reason))?;
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
                    self.link().doubt();
                    backend.link.doubt();
                }
                Err(VmcpError::Failed {
                    backend: backend.name.to_string(),
                    reason: failure.to_string(),
                })
            }
        }
    }
}
