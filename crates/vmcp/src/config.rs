//! The configuration file of `vmcp serve`.
//!
//! The fields are those of a `ToolHive` vMCP `config.yaml` where that has them. What such a file has
//! beyond them is named in a warning and otherwise ignored, so that it is read as far as it goes. Every
//! other field that is not known is an error: a typo must lift no bound and open no gate.
//!
//! ```
//! use vmcp::config::Config;
//!
//! let (config, unknown) = Config::parse("
//! name: research
//! incomingAuth: {type: anonymous}
//! backends:
//!   - {name: git, url: 'http://git-mcp:8080/mcp'}
//!   - {name: files, command: npx, args: ['-y', '@modelcontextprotocol/server-filesystem', /srv]}
//! limiter: embedded
//! rateLimiting:
//!   perUser: {maxTokens: 100, refillPeriod: 1m}
//! telemetry: {}
//! ")?;
//! assert_eq!(config.namespace, "default");
//! assert_eq!(unknown, ["telemetry"]);
//! # Ok::<(), vmcp::config::ConfigError>(())
//! ```

use std::{
    fmt, fs, io,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::Deserialize;
use toolgate_limit::{Limit, NameError, Policy, Scope, ServerId};
use toolgate_policy::{Diagnostics, Origin, read_inline};
use toolgate_telemetry::OtlpSettings;

use crate::{
    rejection::Rejection,
    serve::{AllowedHost, WebOrigin},
};

mod auth;
mod backend;
mod limiter;
mod text;
mod toolhive;

pub use auth::{IncomingAuth, OidcConfig};
pub use backend::{BackendConfig, BackendError, SessionsConfig};
pub use limiter::{LimiterConfig, OnUnavailableConfig, RemoteLimiter, TlsConfig};

/// What the file says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The name of this virtual MCP server. With the namespace it is the server of its policy.
    pub name: String,
    /// Its namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Where it listens.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Where `/metrics`, `/livez` and `/readyz` are. Default: where it listens.
    pub admin_listen: Option<SocketAddr>,
    /// The most connections at a time where it listens. Default: 1024, and at most half of the files
    /// that the process may have open.
    pub max_connections: Option<NonZeroUsize>,
    /// The most of them from one address, which is a /64 of IPv6. Default: no bound, as behind a
    /// proxy all come from it.
    pub max_connections_per_address: Option<NonZeroUsize>,
    /// How long requests have to finish when the server stops. Default: 20 s.
    #[serde(default, deserialize_with = "text::duration")]
    pub drain_timeout: Option<Duration>,
    /// The hosts that it may be called by, as `Host` names them. Default: those of this machine if
    /// it listens only there, else any.
    #[serde(default, deserialize_with = "text::some_of")]
    pub allowed_hosts: Option<Vec<AllowedHost>>,
    /// The origins of web pages that may call it. Requests with any other `Origin` are refused.
    #[serde(default, deserialize_with = "text::all_of")]
    pub allowed_origins: Vec<WebOrigin>,
    /// The servers behind it.
    pub backends: Vec<BackendConfig>,
    /// Who may call. It has no default: whether everybody may must be said.
    pub incoming_auth: IncomingAuth,
    /// Tools behind `find_tool` and `call_tool`; without it they are shown as they are.
    pub optimizer: Option<OptimizerConfig>,
    /// Who decides on calls.
    pub limiter: Option<LimiterConfig>,
    /// The limits of an embedded limiter. They are read by rules of their own, which show a
    /// mistake in its line; see [`read_inline`].
    #[serde(skip)]
    pub rate_limiting: Option<InlineLimits>,
    /// How denials are shown.
    #[serde(default)]
    pub rejection: Rejection,
    /// Export of traces and metrics.
    #[serde(default)]
    pub otlp: OtlpSettings,
}

/// The block `rateLimiting`.
#[derive(Debug)]
pub struct InlineLimits {
    /// What it says, and where.
    pub policy: (Policy, Origin),
    /// What should be changed in it.
    pub warnings: Diagnostics,
    /// The file that it stands in, if it was read from one.
    pub file: Option<PathBuf>,
}

/// Of the optimizer.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OptimizerConfig {
    /// Whether it is there.
    pub enabled: bool,
    /// The most tools that a search returns.
    pub max_tools_to_return: usize,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            max_tools_to_return: crate::Optimizer::DEFAULT_MAX_TOOLS,
        }
    }
}

fn default_namespace() -> String {
    "default".to_owned()
}

fn default_listen() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 4483).into()
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no configuration.
    #[error("{0}")]
    Parse(Box<serde_saphyr::Error>),
    /// The name or the namespace is none.
    #[error("namespace and name: {0}")]
    Name(#[from] NameError),
    /// Limits that cannot be.
    #[error("the limits are not valid:\n{0}")]
    Limits(Diagnostics),
    /// A field that is neither known here nor a field of `ToolHive`.
    #[error("unknown field {field:?}{}", meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default())]
    Unknown {
        /// The field, with its path.
        field: String,
        /// A field of the whole file that it is like.
        meant: Option<&'static str>,
    },
}

/// Fields without which more is let in than with them.
const FIELDS: [&str; 7] = [
    "limiter",
    "allowedHosts",
    "allowedOrigins",
    "maxConnectionsPerAddress",
    "maxConnections",
    "adminListen",
    "drainTimeout",
];

/// The name of the block of limits.
const RATE_LIMITING: &str = "rateLimiting";

impl Config {
    /// Reads a file, and names the fields in it that only `ToolHive` has.
    pub fn read(path: &Path) -> Result<(Self, Vec<String>), ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let (mut config, unknown) = Self::parse_as(path, &text)?;
        if let Some(limits) = &mut config.rate_limiting {
            limits.file = Some(path.to_owned());
        }
        Ok((config, unknown))
    }

    /// As [`Config::read`], of a text.
    pub fn parse(text: &str) -> Result<(Self, Vec<String>), ConfigError> {
        Self::parse_as(Path::new("config.yaml"), text)
    }

    /// What is wrong with limits is said to be in `file`.
    fn parse_as(file: &Path, text: &str) -> Result<(Self, Vec<String>), ConfigError> {
        let mut unknown = Vec::new();
        // A snippet of the file could show a secret.
        let options = serde_saphyr::options! { with_snippet: false };
        let config: Result<Self, _> =
            serde_saphyr::with_deserializer_from_str_with_options(text, options, |deserializer| {
                serde_ignored::deserialize(deserializer, |path| {
                    let path = path.to_string();
                    if path != RATE_LIMITING {
                        unknown.push(path);
                    }
                })
            });
        let mut config = config.map_err(|error| ConfigError::Parse(Box::new(error)))?;
        if let Some(field) = unknown.iter().find(|field| !toolhive::has(field)) {
            return Err(ConfigError::Unknown {
                field: field.clone(),
                meant: FIELDS.into_iter().find(|own| text::is_like(own, field)),
            });
        }
        let limits = read_inline(file, text, &config.server()?).into_result();
        let (policies, warnings) = limits.map_err(ConfigError::Limits)?;
        config.rate_limiting = policies.into_iter().next().map(|policy| InlineLimits {
            policy,
            warnings,
            file: None,
        });
        Ok((config, unknown))
    }

    /// The server whose limits count here.
    pub fn server(&self) -> Result<ServerId, NameError> {
        ServerId::new(&self.namespace, &self.name)
    }

    /// What fits together badly, though it works.
    pub fn warning(&self) -> Option<&'static str> {
        let limits = self.rate_limiting.as_ref()?;
        if matches!(self.limiter, Some(LimiterConfig::Remote(_))) {
            return Some("rateLimiting is not used here: the limiter has the policies");
        }
        let (policy, _) = &limits.policy;
        let per_user = |limit: &Arc<Limit>| limit.scope() == Scope::PerUser;
        let is_shared = matches!(self.incoming_auth, IncomingAuth::Anonymous {});
        if is_shared && policy.limits().iter().any(|limit| per_user(limit)) {
            return Some(
                "rateLimiting has perUser limits, but incomingAuth is anonymous: \
                 all callers are one user, and share its buckets",
            );
        }
        None
    }
}

/// A value that must not be printed.
#[derive(Clone, Deserialize)]
pub struct Secret(String);

impl Secret {
    /// The value.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests;
