//! An item of `backends`.

use std::{
    collections::{BTreeMap, HashMap},
    env,
    num::NonZeroUsize,
    time::Duration,
};

use axum::http::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::{IncomingAuth, Secret, text};
use crate::core::{BackendName, BackendSettings, Sessions, Timing, Transport};

/// A backend: `url` for streamable HTTP, or `command` for a child process.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendConfig {
    /// Its name, which prefixes the names of its tools and prompts.
    #[serde(deserialize_with = "text::parsed")]
    pub name: BackendName,
    /// Where it listens, path included.
    pub url: Option<String>,
    /// Headers to send with each request.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Headers whose values are in this process's environment: header to variable.
    #[serde(default)]
    pub headers_from_env: BTreeMap<String, String>,
    /// A program that speaks MCP on its standard input and output.
    pub command: Option<String>,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Its environment, beside `PATH` and its like.
    #[serde(default)]
    pub env: BTreeMap<String, Secret>,
    /// Variables of this process's environment that it has, too.
    #[serde(default)]
    pub inherit_env: Vec<String>,
    /// The deadline of a request.
    #[serde(default, deserialize_with = "text::duration")]
    pub timeout: Option<Duration>,
    /// The deadline of connecting and listing.
    #[serde(default, deserialize_with = "text::duration")]
    pub connect_timeout: Option<Duration>,
    /// How often its lists are fetched again, if it does not say that they have changed; a second
    /// at least.
    #[serde(default, deserialize_with = "text::duration")]
    pub relist_interval: Option<Duration>,
    /// Requests to it that may be in flight at a time; above that they are refused.
    pub max_in_flight: Option<NonZeroUsize>,
    /// Requests of one caller among them. Default: a quarter, or all if callers are not told apart.
    pub max_in_flight_per_user: Option<NonZeroUsize>,
    /// Whose sessions it sees. Default: each user's own, or one if callers are not told apart.
    pub sessions: Option<SessionsConfig>,
    /// The most sessions of users at a time. Default: 256 of a `url`, 32 of a `command`, where each is
    /// a process.
    pub max_sessions: Option<NonZeroUsize>,
    /// A user's session that is idle for so long is closed. Default: 10 minutes.
    #[serde(default, deserialize_with = "text::duration")]
    pub session_idle_timeout: Option<Duration>,
}

/// Whose sessions a backend sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SessionsConfig {
    /// One of all users.
    Shared,
    /// One of each user.
    PerUser,
}

const MAX_SESSIONS: usize = 256;
const MAX_PROCESSES: usize = 32;
const SESSION_IDLE: Duration = Duration::from_mins(10);

/// What is wrong with a backend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// Neither or both ways to reach it.
    #[error("backend {0}: give either url or command")]
    Transport(BackendName),
    /// A header that cannot be one.
    #[error("backend {backend}: header {header:?} is none, or its value cannot be one")]
    Header {
        /// The backend.
        backend: BackendName,
        /// The header's name as given.
        header: String,
    },
    /// A variable that is not set.
    #[error("backend {backend}: the environment variable {variable} is not set")]
    Variable {
        /// The backend.
        backend: BackendName,
        /// The variable.
        variable: String,
    },
    /// Two backends of one name.
    #[error("backend {0} is configured twice")]
    Duplicate(BackendName),
}

impl BackendConfig {
    /// The backend as it is configured. Where callers are told apart, one has no more than its share.
    pub(crate) fn settings(&self, auth: &IncomingAuth) -> Result<BackendSettings, BackendError> {
        let transport = match (&self.url, &self.command) {
            (Some(url), None) => Transport::Http {
                url: url.clone(),
                headers: self.headers()?,
            },
            (None, Some(program)) => Transport::Command {
                program: program.clone(),
                args: self.args.clone(),
                env: self.env()?,
            },
            _ => return Err(BackendError::Transport(self.name.clone())),
        };
        let defaults = Timing::default();
        let max_in_flight = (self.max_in_flight).map_or(defaults.max_in_flight, NonZeroUsize::get);
        let (share, sessions) = match auth {
            IncomingAuth::Anonymous {} => (max_in_flight, SessionsConfig::Shared),
            IncomingAuth::Oidc { .. } => (max_in_flight.div_ceil(4), SessionsConfig::PerUser),
        };
        Ok(BackendSettings {
            name: self.name.clone(),
            transport,
            timing: Timing {
                request: self.timeout.unwrap_or(defaults.request),
                connect: self.connect_timeout.unwrap_or(defaults.connect),
                relist: self.relist_interval.unwrap_or(defaults.relist),
                max_in_flight,
                max_in_flight_per_user: (self.max_in_flight_per_user)
                    .map_or(share, NonZeroUsize::get),
                ..defaults
            },
            sessions: match self.sessions.unwrap_or(sessions) {
                SessionsConfig::Shared => Sessions::Shared,
                SessionsConfig::PerUser => self.per_user(),
            },
        })
    }

    fn per_user(&self) -> Sessions {
        let most = if self.command.is_some() {
            MAX_PROCESSES
        } else {
            MAX_SESSIONS
        };
        Sessions::PerUser {
            most: self.max_sessions.map_or(most, NonZeroUsize::get),
            idle: self.session_idle_timeout.unwrap_or(SESSION_IDLE),
        }
    }

    fn env(&self) -> Result<BTreeMap<String, String>, BackendError> {
        let mut env = BTreeMap::new();
        for name in &self.inherit_env {
            env.insert(name.clone(), self.variable(name)?);
        }
        for (name, value) in &self.env {
            env.insert(name.clone(), value.expose().to_owned());
        }
        Ok(env)
    }

    /// A variable of this process's environment.
    fn variable(&self, name: &str) -> Result<String, BackendError> {
        env::var(name).map_err(|_| BackendError::Variable {
            backend: self.name.clone(),
            variable: name.to_owned(),
        })
    }

    fn headers(&self) -> Result<HashMap<HeaderName, HeaderValue>, BackendError> {
        let mut headers = HashMap::new();
        let mut add = |name: &str, value: &str| {
            let pair = (name.parse::<HeaderName>().ok()).zip(value.parse::<HeaderValue>().ok());
            let (parsed, mut value) = pair.ok_or_else(|| BackendError::Header {
                backend: self.name.clone(),
                header: name.to_owned(),
            })?;
            value.set_sensitive(true);
            headers.insert(parsed, value);
            Ok(())
        };
        for (name, value) in &self.headers {
            add(name, value.expose())?;
        }
        for (name, variable) in &self.headers_from_env {
            add(name, &self.variable(variable)?)?;
        }
        Ok(headers)
    }
}
