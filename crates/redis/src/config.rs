//! Where Redis is, how to get in, and how long to wait.

use std::{fmt, path::PathBuf, time::Duration};

use crate::key::KeyPrefix;

/// Where Redis is, how to get in, and how long to wait for it.
#[derive(Clone)]
pub struct RedisConfig {
    /// One of
    ///
    /// - `redis://[user:password@]host[:port][/db]`, or `redis+unix:///path`
    /// - `redis+sentinel://[user:password@]host[:port],…/master[/db]`, with the hosts of sentinels
    /// - `redis+cluster://[user:password@]host[:port],…`, with the hosts of some nodes
    ///
    /// `rediss…` speaks TLS. User and password are those of the servers with buckets.
    pub url: String,
    /// The user and password of the servers with buckets, in place of those of the URL.
    pub login: Login,
    /// What TLS needs, if the URL asks for it.
    pub tls: TlsFiles,
    /// What differs where sentinels are asked.
    pub sentinel: SentinelConfig,
    /// The most time that one operation may take, waiting for its batch included: at least three
    /// round trips, as a check may come just after a batch has left. Where more checks wait than go
    /// into one batch, those that could not be sent within half of it are refused.
    pub timeout: Duration,
    /// The most time that one attempt to connect may take.
    pub connect_timeout: Duration,
    /// How long a denial is remembered at most, so that it is not asked for again; zero for not at
    /// all. A reset through another replica is seen no later.
    pub remember_denials: Duration,
    /// What the names of all keys begin with. Limiters that are to share buckets have the same.
    pub key_prefix: KeyPrefix,
}

/// A user of Redis. What is not given is left as it is without.
#[derive(Clone, Default)]
pub struct Login {
    /// The name of an ACL user.
    pub username: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// A file with the password, in place of it; read anew for each connection.
    pub password_file: Option<PathBuf>,
}

/// Files in PEM form, read anew for each connection.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// The authorities that Redis' certificate may come from; those of the system without it.
    pub ca: Option<PathBuf>,
    /// What we show to Redis.
    pub identity: Option<TlsIdentity>,
}

/// Our certificate and its key.
#[derive(Clone, Debug)]
pub struct TlsIdentity {
    /// The certificate, and those between it and the authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// How sentinels are asked.
#[derive(Clone, Debug, Default)]
pub struct SentinelConfig {
    /// The user and password of the sentinels themselves.
    pub login: Login,
    /// Whether they speak TLS, with the same files; as the URL says if not given.
    pub tls: Option<bool>,
}

impl RedisConfig {
    /// Redis at `url`, with a timeout of 40 ms, so that an answer or an error is out before the 50 ms
    /// are over that gateways wait by default, and of 1 s to connect. Denials are remembered for 1 s.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            login: Login::default(),
            tls: TlsFiles::default(),
            sentinel: SentinelConfig::default(),
            timeout: Duration::from_millis(40),
            connect_timeout: Duration::from_secs(1),
            remember_denials: Duration::from_secs(1),
            key_prefix: KeyPrefix::default(),
        }
    }
}

/// Without the URL, which may hold a password.
impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("login", &self.login)
            .field("tls", &self.tls)
            .field("sentinel", &self.sentinel)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("remember_denials", &self.remember_denials)
            .field("key_prefix", &self.key_prefix)
            .finish_non_exhaustive()
    }
}

/// Without the password.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("username", &self.username)
            .field("password_file", &self.password_file)
            .finish_non_exhaustive()
    }
}
