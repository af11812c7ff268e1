//! The ways to a backend.

use std::{
    collections::{BTreeMap, HashMap},
    env,
    ffi::OsString,
    fmt, io,
};

use axum::http::{HeaderName, HeaderValue};
use rmcp::{
    ClientCacheConfig, ClientHandler, ClientLifecycleMode, RoleClient,
    model::ProtocolVersion,
    serve_client_with_lifecycle,
    service::{ClientInitializeError, RunningService},
    transport::{
        StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use tokio::process::Command;

use super::{
    connection::chain,
    http::{HttpClient, Sessions, shown},
    stdio::ChildProcess,
};

/// How a backend is reached.
#[derive(Clone)]
pub enum Transport {
    /// Over streamable HTTP.
    Http {
        /// Where it listens, path included.
        url: String,
        /// Sent with every request; values may be secrets.
        headers: HashMap<HeaderName, HeaderValue>,
    },
    /// As a child process that speaks on its standard input and output. Its standard error is
    /// this process's.
    Command {
        /// The program, found as a shell would find it.
        program: String,
        /// Its arguments.
        args: Vec<String>,
        /// Its environment, beside what every child has of this process's; values may be secrets.
        env: BTreeMap<String, String>,
    },
}

/// What a child has of this process's environment: what programs need to run, to find a user's files
/// and to write in their language. The SDKs of MCP pass the first six. Everything else may be a
/// secret of this process or of another backend.
const INHERITED: [&str; 12] = [
    "HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE",
    "TMPDIR", "TZ",
];

fn inherited() -> impl Iterator<Item = (&'static str, OsString)> {
    let set = |name| Some((name, env::var_os(name)?));
    // Functions of a shell are no settings, and run in the next shell.
    let is_function = |value: &OsString| value.as_encoded_bytes().starts_with(b"()");
    INHERITED
        .into_iter()
        .filter_map(set)
        .filter(move |(_, value)| !is_function(value))
}

/// Requests to one backend at a time, over HTTP. More of them wait.
const MAX_CONCURRENT_REQUESTS: usize = 1_024;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("cannot make an HTTP client")]
    Http(#[source] reqwest::Error),
    #[error("cannot start {program}")]
    Spawn {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("{reason}")]
    Initialize {
        reason: String,
        /// Whether the backend was there at all.
        is_reached: bool,
    },
}

impl ConnectError {
    /// Whether another beginning may do better.
    pub(super) const fn is_reached(&self) -> bool {
        matches!(
            self,
            Self::Initialize {
                is_reached: true,
                ..
            }
        )
    }
}

/// How a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifecycle {
    /// With `initialize`, which all servers up to 2025-11-25 know, and most later ones.
    Initialize,
    /// With `server/discover`, for those that know nothing older than 2026-07-28.
    Discover,
}

impl Lifecycle {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Initialize => Self::Discover,
            Self::Discover => Self::Initialize,
        }
    }

    fn mode(self) -> ClientLifecycleMode {
        match self {
            Self::Initialize => ClientLifecycleMode::Initialize,
            Self::Discover => ClientLifecycleMode::Discover {
                preferred_versions: vec![ProtocolVersion::LATEST],
            },
        }
    }
}

impl Transport {
    /// Connects, without a deadline of its own. Answers are not cached: rmcp's cache knows no
    /// callers, so one would read what another was answered, and an error would be an old answer.
    ///
    /// Also says whether the connection is a session that the backend may keep something in: a child is
    /// one however it is spoken to, and over HTTP there are none since 2026-07-28.
    pub(super) async fn connect<H: ClientHandler>(
        &self,
        handler: H,
        lifecycle: Lifecycle,
    ) -> Result<(RunningService<RoleClient, H>, bool), ConnectError> {
        let mut sessions = None;
        let mode = lifecycle.mode();
        let connected = match self {
            Self::Http { url, headers } => {
                let config = StreamableHttpClientTransportConfig::with_uri(url.as_str())
                    .custom_headers(headers.clone())
                    .max_concurrent_requests(MAX_CONCURRENT_REQUESTS)
                    .reinit_on_expired_session(true);
                let client = HttpClient::new().map_err(ConnectError::Http)?;
                sessions = Some(client.sessions());
                let transport = StreamableHttpClientTransport::with_client(client, config);
                serve_client_with_lifecycle(handler, transport, mode).await
            }
            Self::Command { program, args, env } => {
                let mut command = Command::new(program);
                command.args(args);
                command.env_clear().envs(inherited()).envs(env);
                let child = ChildProcess::spawn(command).map_err(|source| ConnectError::Spawn {
                    program: program.clone(),
                    source,
                })?;
                serve_client_with_lifecycle(handler, child, mode).await
            }
        };
        let running = connected.map_err(|error| ConnectError::Initialize {
            reason: told(&error),
            is_reached: sessions.as_ref().is_none_or(Sessions::has_answered),
        })?;
        let no_cache = ClientCacheConfig::disabled();
        running.peer().set_response_cache_config(no_cache).await;
        let is_stateful = match sessions {
            None => true,
            Some(sessions) => lifecycle == Lifecycle::Initialize && sessions.are_given(),
        };
        Ok((running, is_stateful))
    }
}

/// Why a backend could not be greeted, without the messages that it sent instead of an answer.
fn told(error: &ClientInitializeError) -> String {
    match error {
        ClientInitializeError::ExpectedInitResponse(None)
        | ClientInitializeError::ExpectedInitResult(None) => {
            "it closed the connection before it answered".to_owned()
        }
        ClientInitializeError::ExpectedInitResponse(_)
        | ClientInitializeError::ExpectedInitResult(_) => {
            "it answered with a message that is no answer".to_owned()
        }
        error => chain(error),
    }
}

impl fmt::Debug for Transport {
    /// Without what may be secret: values of headers and variables, and parts of the URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { url, headers } => f
                .debug_struct("Http")
                .field("url", &shown(url))
                .field("headers", &headers.keys().collect::<Vec<_>>())
                .finish(),
            Self::Command { program, args, env } => f
                .debug_struct("Command")
                .field("program", program)
                .field("args", args)
                .field("env", &env.keys().collect::<Vec<_>>())
                .finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let name = HeaderName::from_static("authorization");
        let http = Transport::Http {
            url: "http://me:s3cret@a:1/mcp?api_key=s3cret#s3cret".to_owned(),
            headers: [(name, HeaderValue::from_static("Bearer s3cret"))].into(),
        };
        let command = Transport::Command {
            program: "a".to_owned(),
            args: Vec::new(),
            env: [("TOKEN".to_owned(), "s3cret".to_owned())].into(),
        };
        let text = format!("{http:?} {command:?}");
        assert!(text.contains("authorization") && text.contains("TOKEN"));
        assert!(text.contains("http://a:1/mcp\""), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }
}
