//! The settings of a limiter, and where they come from.
//!
//! One type, [`Settings`], serves all three sources: it reads flags and environment (flag over
//! environment) and the YAML file. [`Config`] is what is left when the sources are laid over each
//! other and over the defaults.

use std::{fmt, fs, num::NonZeroUsize, path::PathBuf, str::FromStr, thread, time::Duration};

use clap::Args;
use serde::{Deserialize, Deserializer};
use toolgate_limit::GoDuration;
use toolgate_redis::KeyPrefix;
use toolgate_telemetry::OtlpSettings;

use crate::{CallerRule, Listen, OnOutage};

mod audit;
mod connections;
mod error;
mod kubernetes;
mod secret;
mod store;
mod telemetry;
mod tls;

pub use audit::{AuditConfig, AuditDestination, AuditSettings};
pub use connections::{ConnectionBounds, ConnectionSettings};
pub use error::ConfigError;
pub use kubernetes::KubernetesSettings;
pub use secret::Secret;
pub use store::{RedisSettings, RedisTlsSettings, SentinelSettings, StoreConfig};
pub use telemetry::OtlpExport;
pub use tls::{TlsFiles, TlsSettings};

/// The settings as one source gives them; what it does not give is none.
///
/// A setting has one name in three spellings: `--grpc-listen`, `TOOLGATE_GRPC_LISTEN`, and
/// `grpcListen` in the file. What belongs together is an object there: `--grpc-tls-key` is `key` in
/// `grpcTls`.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// File or folder of policy manifests; may be given more than once
    #[arg(
        long,
        value_name = "PATH",
        env = "TOOLGATE_POLICIES",
        value_delimiter = ','
    )]
    pub policies: Vec<PathBuf>,

    /// Start even if the files hold no policy, so that nothing is limited; policies that vanish later
    /// stay in force all the same [default: false]
    #[arg(
        long,
        value_name = "BOOL",
        env = "TOOLGATE_ALLOW_EMPTY",
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub allow_empty: Option<bool>,

    /// Policies from a cluster, instead of files.
    #[command(flatten)]
    pub kubernetes: KubernetesSettings,

    /// Where buckets live: `memory`, or a URL: `redis://host`, `redis+unix:///path`,
    /// `redis+sentinel://sentinel,…/master`, `redis+cluster://node,…`; `rediss…` for TLS
    /// [default: memory]
    #[arg(
        long,
        value_name = "STORE",
        env = "TOOLGATE_STORE",
        hide_env_values = true
    )]
    pub store: Option<Secret>,

    /// Address of the gRPC API: `ip:port` or `unix:///path` [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDR", env = "TOOLGATE_GRPC_LISTEN")]
    #[serde(deserialize_with = "from_text")]
    pub grpc_listen: Option<Listen>,

    /// Address of /livez, /readyz and /metrics: `ip:port` or `unix:///path` [default: 127.0.0.1:7071]
    #[arg(long, value_name = "ADDR", env = "TOOLGATE_HTTP_LISTEN")]
    #[serde(deserialize_with = "from_text")]
    pub http_listen: Option<Listen>,

    /// Count what is done and serve it on /metrics [default: true]
    #[arg(
        long,
        value_name = "BOOL",
        env = "TOOLGATE_METRICS",
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub metrics: Option<bool>,

    /// The most time that one operation on Redis may take [default: 40ms]
    #[arg(long, value_name = "DURATION", env = "TOOLGATE_STORE_TIMEOUT")]
    #[serde(deserialize_with = "from_text")]
    pub store_timeout: Option<GoDuration>,

    /// The most time that one attempt to connect to Redis may take [default: 1s]
    #[arg(long, value_name = "DURATION", env = "TOOLGATE_STORE_CONNECT_TIMEOUT")]
    #[serde(deserialize_with = "from_text")]
    pub store_connect_timeout: Option<GoDuration>,

    /// How long a denial is remembered at most and not asked of Redis again; a reset through another
    /// replica is seen no later; 0s for not at all [default: 1s]
    #[arg(long, value_name = "DURATION", env = "TOOLGATE_REMEMBER_DENIALS")]
    #[serde(deserialize_with = "from_text")]
    pub remember_denials: Option<GoDuration>,

    /// What the names of all keys in Redis begin with. Limiters with other prefixes share no bucket
    /// with this one [default: tg]
    #[arg(long, value_name = "PREFIX", env = "TOOLGATE_KEY_PREFIX")]
    #[serde(deserialize_with = "from_text")]
    pub key_prefix: Option<KeyPrefix>,

    /// How to get into Redis.
    #[command(flatten)]
    pub redis: RedisSettings,

    /// The most active users that a replica keeps in memory, in an outage of Redis too; checks of
    /// more are an error [default: 1000000]
    #[arg(long, value_name = "COUNT", env = "TOOLGATE_MEMORY_MAX_USERS")]
    pub memory_max_users: Option<usize>,

    /// What becomes of checks while Redis does not decide [default: local]
    #[arg(long, value_name = "MODE", env = "TOOLGATE_OUTAGE")]
    pub outage: Option<OnOutage>,

    /// Threads that serve gRPC; each has its own connection to Redis [default: one a CPU]
    #[arg(long, value_name = "COUNT", env = "TOOLGATE_WORKERS")]
    pub workers: Option<NonZeroUsize>,

    /// The most checks that are decided at a time; more are refused at once [default: 10000]
    #[arg(long, value_name = "COUNT", env = "TOOLGATE_MAX_IN_FLIGHT")]
    pub max_in_flight: Option<NonZeroUsize>,

    /// The most time that calls in flight have to finish when the limiter stops [default: 10s]
    #[arg(long, value_name = "DURATION", env = "TOOLGATE_DRAIN_TIMEOUT")]
    #[serde(deserialize_with = "from_text")]
    pub drain_timeout: Option<GoDuration>,

    /// TLS of the gRPC API.
    #[command(flatten)]
    pub grpc_tls: TlsSettings,

    /// Bounds on connections to the gRPC API.
    #[command(flatten)]
    pub connections: ConnectionSettings,

    /// The audit stream.
    #[command(flatten)]
    pub audit: AuditSettings,

    /// Serve `AdminService`, which shows and resets all buckets, to callers without a certificate
    /// on an address that is not loopback
    #[arg(
        long,
        value_name = "BOOL",
        env = "TOOLGATE_INSECURE_ADMIN",
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub insecure_admin: Option<bool>,

    /// Export of traces and metrics.
    #[command(flatten)]
    pub otlp: OtlpExport,

    /// Who may check which servers, by certificate; in the file alone.
    #[arg(skip)]
    pub callers: Vec<CallerRule>,
}

/// A setting that is written as text, in the form that its flag has.
fn from_text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

/// All that a limiter has to know to start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where policies come from.
    pub policies: PolicySource,
    /// Whether a start without any policy in files is no error.
    pub allow_empty: bool,
    /// Where buckets live.
    pub store: StoreConfig,
    /// Address of the gRPC API.
    pub grpc_listen: Listen,
    /// Address of `/livez`, `/readyz` and `/metrics`.
    pub http_listen: Listen,
    /// Whether anything is counted, and served on `/metrics`.
    pub metrics: bool,
    /// What becomes of checks while Redis does not decide.
    pub outage: OnOutage,
    /// The most groups of buckets in this process, when Redis does not decide: active users, and one
    /// for each server.
    pub memory_max_users: usize,
    /// Threads that serve gRPC.
    pub workers: NonZeroUsize,
    /// The most checks that are decided at a time.
    pub max_in_flight: NonZeroUsize,
    /// The most time that calls in flight have to finish when the limiter stops.
    pub drain_timeout: Duration,
    /// TLS of the gRPC API. None: plaintext.
    pub grpc_tls: Option<TlsFiles>,
    /// Bounds on connections to the gRPC API.
    pub connections: ConnectionBounds,
    /// The audit stream, if there is one.
    pub audit: Option<AuditConfig>,
    /// Whether callers without a certificate may use `AdminService` from everywhere.
    pub insecure_admin: bool,
    /// Export of traces and metrics.
    pub otlp: OtlpSettings,
    /// Who may check which servers. Empty: every caller may check all.
    pub callers: Vec<CallerRule>,
}

/// Where policies come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicySource {
    /// Files and folders of manifests.
    Files(Vec<PathBuf>),
    /// The objects of a cluster.
    Kubernetes(toolgate_kube::Config),
}

impl Settings {
    /// The settings in the YAML file at `path`.
    pub fn read(path: PathBuf) -> Result<Self, ConfigError> {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        // A snippet of the file could show a password.
        let options = serde_saphyr::options! { with_snippet: false };
        let mut field = String::new();
        let settings =
            serde_saphyr::with_deserializer_from_str_with_options(&text, options, |deserializer| {
                serde_path_to_error::deserialize(deserializer).map_err(|error| {
                    field = error.path().to_string();
                    error.into_inner()
                })
            });
        settings.map_err(|error| ConfigError::Parse {
            path,
            field,
            reason: error.to_string(),
        })
    }

    /// These settings, and those of `below` where these are silent.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        Self {
            policies: if self.policies.is_empty() {
                below.policies
            } else {
                self.policies
            },
            allow_empty: self.allow_empty.or(below.allow_empty),
            kubernetes: self.kubernetes.over(below.kubernetes),
            store: self.store.or(below.store),
            grpc_listen: self.grpc_listen.or(below.grpc_listen),
            http_listen: self.http_listen.or(below.http_listen),
            metrics: self.metrics.or(below.metrics),
            store_timeout: self.store_timeout.or(below.store_timeout),
            store_connect_timeout: self.store_connect_timeout.or(below.store_connect_timeout),
            remember_denials: self.remember_denials.or(below.remember_denials),
            key_prefix: self.key_prefix.or(below.key_prefix),
            outage: self.outage.or(below.outage),
            redis: self.redis.over(below.redis),
            memory_max_users: self.memory_max_users.or(below.memory_max_users),
            workers: self.workers.or(below.workers),
            max_in_flight: self.max_in_flight.or(below.max_in_flight),
            drain_timeout: self.drain_timeout.or(below.drain_timeout),
            grpc_tls: self.grpc_tls.over(below.grpc_tls),
            connections: self.connections.over(below.connections),
            audit: self.audit.over(below.audit),
            insecure_admin: self.insecure_admin.or(below.insecure_admin),
            otlp: self.otlp.over(below.otlp),
            callers: if self.callers.is_empty() {
                below.callers
            } else {
                self.callers
            },
        }
    }
}

/// Far more than a healthy limiter ever has, and some 10 MB at most.
const MAX_IN_FLIGHT: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

impl TryFrom<Settings> for Config {
    type Error = ConfigError;

    fn try_from(settings: Settings) -> Result<Self, ConfigError> {
        let memory_max_users = match settings.memory_max_users {
            Some(0) => return Err(ConfigError::NoUsers),
            most => most.unwrap_or(1_000_000),
        };
        let store = StoreConfig::new(&settings, memory_max_users)?;
        let grpc_tls = settings.grpc_tls.into_files()?;
        let insecure_admin = settings.insecure_admin.unwrap_or_default();
        check_callers(&settings.callers, grpc_tls.as_ref(), insecure_admin)?;
        if grpc_tls.is_some() && matches!(settings.grpc_listen, Some(Listen::Unix(_))) {
            return Err(ConfigError::TlsOnUnixSocket);
        }
        let max_in_flight = settings.max_in_flight.unwrap_or(MAX_IN_FLIGHT);
        let local = |port| Listen::Tcp(([127, 0, 0, 1], port).into());
        Ok(Self {
            policies: policy_source(settings.policies, settings.kubernetes)?,
            allow_empty: settings.allow_empty.unwrap_or_default(),
            store,
            grpc_listen: settings.grpc_listen.unwrap_or_else(|| local(7070)),
            http_listen: settings.http_listen.unwrap_or_else(|| local(7071)),
            metrics: settings.metrics.unwrap_or(true),
            outage: settings.outage.unwrap_or_default(),
            memory_max_users,
            workers: settings.workers.unwrap_or_else(one_a_cpu),
            max_in_flight,
            drain_timeout: settings
                .drain_timeout
                .map_or(Duration::from_secs(10), |timeout| timeout.0),
            grpc_tls,
            connections: settings.connections.into_bounds(max_in_flight.get())?,
            audit: settings.audit.into_config()?,
            insecure_admin,
            otlp: settings.otlp.into(),
            callers: settings.callers,
        })
    }
}

fn policy_source(
    files: Vec<PathBuf>,
    kubernetes: KubernetesSettings,
) -> Result<PolicySource, ConfigError> {
    match (files.is_empty(), kubernetes.into_config()?) {
        (true, None) => Err(ConfigError::NoPolicies),
        (false, None) => Ok(PolicySource::Files(files)),
        (true, Some(cluster)) => Ok(PolicySource::Kubernetes(cluster)),
        (false, Some(_)) => Err(ConfigError::TwoSources),
    }
}

fn check_callers(
    callers: &[CallerRule],
    tls: Option<&TlsFiles>,
    insecure_admin: bool,
) -> Result<(), ConfigError> {
    if callers.is_empty() {
        return Ok(());
    }
    if tls.is_none_or(|tls| tls.client_ca.is_none()) {
        return Err(ConfigError::CallersWithoutCa);
    }
    if insecure_admin {
        return Err(ConfigError::AdminTwice);
    }
    let idle = callers
        .iter()
        .find(|rule| rule.servers.is_empty() && !rule.admin);
    match idle {
        Some(rule) => Err(ConfigError::NothingGranted(rule.san.to_string())),
        None => Ok(()),
    }
}

/// As many as this process may use at a time, by its CPU limit too.
fn one_a_cpu() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

fn duration(
    name: &'static str,
    given: Option<GoDuration>,
    default: Duration,
) -> Result<Duration, ConfigError> {
    match given {
        Some(GoDuration(Duration::ZERO)) => Err(ConfigError::ZeroDuration(name)),
        Some(GoDuration(given)) => Ok(given),
        None => Ok(default),
    }
}

#[cfg(test)]
mod tests;
