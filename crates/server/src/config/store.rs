//! Where buckets live, and how to get there.

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;
use toolgate_limit::GoDuration;
use toolgate_redis::{Login, RedisConfig, SentinelConfig, TlsFiles, TlsIdentity};

use super::{ConfigError, Secret, Settings, duration};

/// What the URL of a Redis begins with.
pub(super) const SCHEMES: [&str; 7] = [
    "redis://",
    "rediss://",
    "redis+unix://",
    "redis+sentinel://",
    "rediss+sentinel://",
    "redis+cluster://",
    "rediss+cluster://",
];

/// Where buckets live, and the bounds that go with it.
#[derive(Clone, Debug)]
pub enum StoreConfig {
    /// In this process.
    Memory {
        /// The most groups of buckets: active users, and one for each server.
        max_users: usize,
    },
    /// In Redis.
    Redis(Box<RedisConfig>),
}

/// How to get into Redis, as one source of settings gives it: `redis` in the file, and flags and
/// variables that begin with `--redis-` and `TOOLGATE_REDIS_`.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RedisSettings {
    /// ACL user of Redis, in place of that of the URL
    #[arg(
        id = "redis_username",
        long = "redis-username",
        value_name = "NAME",
        env = "TOOLGATE_REDIS_USERNAME"
    )]
    pub username: Option<String>,

    /// File with the password of Redis, in place of that of the URL; read anew for each connection
    #[arg(
        id = "redis_password_file",
        long = "redis-password-file",
        value_name = "FILE",
        env = "TOOLGATE_REDIS_PASSWORD_FILE"
    )]
    pub password_file: Option<PathBuf>,

    /// What TLS needs.
    #[command(flatten)]
    pub tls: RedisTlsSettings,

    /// What differs for sentinels.
    #[command(flatten)]
    pub sentinel: SentinelSettings,
}

/// Files for TLS to Redis and its sentinels, all PEM and read anew for each connection.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RedisTlsSettings {
    /// File with the authorities that Redis' certificate may come from [default: the system's]
    #[arg(
        id = "redis_tls_ca_file",
        long = "redis-tls-ca-file",
        value_name = "FILE",
        env = "TOOLGATE_REDIS_TLS_CA_FILE"
    )]
    pub ca_file: Option<PathBuf>,

    /// File with the certificate that is shown to Redis; needs its key
    #[arg(
        id = "redis_tls_cert_file",
        long = "redis-tls-cert-file",
        value_name = "FILE",
        env = "TOOLGATE_REDIS_TLS_CERT_FILE"
    )]
    pub cert_file: Option<PathBuf>,

    /// File with the key of that certificate
    #[arg(
        id = "redis_tls_key_file",
        long = "redis-tls-key-file",
        value_name = "FILE",
        env = "TOOLGATE_REDIS_TLS_KEY_FILE"
    )]
    pub key_file: Option<PathBuf>,
}

/// How to get into sentinels; what is not given they do not ask for.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SentinelSettings {
    /// ACL user of the sentinels
    #[arg(
        id = "redis_sentinel_username",
        long = "redis-sentinel-username",
        value_name = "NAME",
        env = "TOOLGATE_REDIS_SENTINEL_USERNAME"
    )]
    pub username: Option<String>,

    /// Password of the sentinels; where others see flags, give it by the environment or a file
    #[arg(
        id = "redis_sentinel_password",
        long = "redis-sentinel-password",
        value_name = "PASSWORD",
        env = "TOOLGATE_REDIS_SENTINEL_PASSWORD",
        hide_env_values = true
    )]
    pub password: Option<Secret>,

    /// File with the password of the sentinels; read anew for each connection
    #[arg(
        id = "redis_sentinel_password_file",
        long = "redis-sentinel-password-file",
        value_name = "FILE",
        env = "TOOLGATE_REDIS_SENTINEL_PASSWORD_FILE"
    )]
    pub password_file: Option<PathBuf>,

    /// Whether sentinels speak TLS [default: as the URL says]
    #[arg(
        id = "redis_sentinel_tls",
        long = "redis-sentinel-tls",
        value_name = "BOOL",
        env = "TOOLGATE_REDIS_SENTINEL_TLS"
    )]
    pub tls: Option<bool>,
}

impl RedisSettings {
    /// These settings, and those of `below` where these are silent.
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            username: self.username.or(below.username),
            password_file: self.password_file.or(below.password_file),
            tls: RedisTlsSettings {
                ca_file: self.tls.ca_file.or(below.tls.ca_file),
                cert_file: self.tls.cert_file.or(below.tls.cert_file),
                key_file: self.tls.key_file.or(below.tls.key_file),
            },
            sentinel: SentinelSettings {
                username: self.sentinel.username.or(below.sentinel.username),
                password: self.sentinel.password.or(below.sentinel.password),
                password_file: self.sentinel.password_file.or(below.sentinel.password_file),
                tls: self.sentinel.tls.or(below.sentinel.tls),
            },
        }
    }
}

impl StoreConfig {
    /// The store in `settings`; in memory it keeps `max_users` at most.
    pub(super) fn new(settings: &Settings, max_users: usize) -> Result<Self, ConfigError> {
        let store = settings.store.clone().unwrap_or_else(|| "memory".into());
        match store.reveal() {
            memory if memory == "memory" => Ok(Self::Memory { max_users }),
            url if SCHEMES.iter().any(|scheme| url.starts_with(scheme)) => {
                redis(settings, url).map(|redis| Self::Redis(Box::new(redis)))
            }
            _ => Err(ConfigError::InvalidStore),
        }
    }
}

fn redis(settings: &Settings, url: String) -> Result<RedisConfig, ConfigError> {
    let RedisSettings {
        username,
        password_file,
        tls,
        sentinel,
    } = settings.redis.clone();
    let is_tls = url.starts_with("rediss") || sentinel.tls == Some(true);
    let asks_sentinels = url.contains("+sentinel://");
    let says = |tls: &RedisTlsSettings| {
        tls.ca_file.is_some() || tls.cert_file.is_some() || tls.key_file.is_some()
    };
    if says(&tls) && !is_tls {
        return Err(ConfigError::Together(
            "redis.tls needs a store that begins with rediss",
        ));
    }
    let says_sentinel = sentinel.username.is_some()
        || sentinel.password.is_some()
        || sentinel.password_file.is_some()
        || sentinel.tls.is_some();
    if says_sentinel && !asks_sentinels {
        return Err(ConfigError::Together(
            "redis.sentinel needs a store that begins with redis+sentinel:// or rediss+sentinel://",
        ));
    }
    if username.is_some() && password_file.is_none() && !url.contains('@') {
        return Err(ConfigError::Together(
            "redis.username needs a password: redis.passwordFile, or one in the URL",
        ));
    }
    if sentinel.username.is_some()
        && sentinel.password.is_none()
        && sentinel.password_file.is_none()
    {
        return Err(ConfigError::Together(
            "redis.sentinel.username needs a password: redis.sentinel.passwordFile or .password",
        ));
    }
    let identity = match (tls.cert_file, tls.key_file) {
        (Some(certificate), Some(key)) => Some(TlsIdentity { certificate, key }),
        (None, None) => None,
        _ => {
            return Err(ConfigError::Together(
                "redis.tls.certFile and redis.tls.keyFile need each other",
            ));
        }
    };
    let default = RedisConfig::new(url);
    Ok(RedisConfig {
        login: Login {
            username,
            password: None,
            password_file,
        },
        tls: TlsFiles {
            ca: tls.ca_file,
            identity,
        },
        sentinel: SentinelConfig {
            login: Login {
                username: sentinel.username,
                password: sentinel.password.map(Secret::reveal),
                password_file: sentinel.password_file,
            },
            tls: sentinel.tls,
        },
        timeout: duration("storeTimeout", settings.store_timeout, default.timeout)?,
        connect_timeout: duration(
            "storeConnectTimeout",
            settings.store_connect_timeout,
            default.connect_timeout,
        )?,
        remember_denials: settings
            .remember_denials
            .map_or(default.remember_denials, |GoDuration(longest)| longest),
        key_prefix: settings.key_prefix.clone().unwrap_or_default(),
        ..default
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{file, flags};
    use crate::Config;

    use super::*;

    fn redis(settings: Settings) -> RedisConfig {
        match Config::try_from(settings).expect("valid").store {
            StoreConfig::Redis(redis) => *redis,
            StoreConfig::Memory { .. } => panic!("not Redis"),
        }
    }

    #[test]
    fn all_of_redis_may_be_in_the_file_and_a_flag_wins() {
        let below = file(
            "policies: [x]\nstore: rediss+sentinel://s1,s2/main\nredis:\n  username: toolgate\n  \
             passwordFile: /p\n  tls: {caFile: /ca, certFile: /c, keyFile: /k}\n  \
             sentinel: {username: watcher, password: hunter2, tls: false}\n",
        );
        let above = flags(&[
            "--redis-tls-ca-file=/other",
            "--redis-sentinel-username=eye",
        ]);
        let settings = above.over(below.expect("valid"));
        assert!(!format!("{settings:?}").contains("hunter2"));
        let redis = redis(settings);
        assert!(!format!("{redis:?}").contains("hunter2"));
        assert_eq!(redis.login.username.as_deref(), Some("toolgate"));
        assert_eq!(redis.login.password_file, Some("/p".into()));
        assert_eq!(redis.tls.ca, Some("/other".into()));
        let identity = redis.tls.identity.expect("an identity");
        assert_eq!(identity.certificate, PathBuf::from("/c"));
        assert_eq!(identity.key, PathBuf::from("/k"));
        assert_eq!(redis.sentinel.login.username.as_deref(), Some("eye"));
        assert_eq!(redis.sentinel.login.password.as_deref(), Some("hunter2"));
        assert_eq!(redis.sentinel.tls, Some(false));
    }

    #[test]
    fn keys_begin_with_the_prefix_of_the_flag_the_file_or_tg() {
        let prefix = |settings| redis(settings).key_prefix.to_string();
        let below =
            || file("policies: [x]\nstore: redis://h\nkeyPrefix: staging\n").expect("valid");
        assert_eq!(prefix(flags(&["--key-prefix=prod"]).over(below())), "prod");
        assert_eq!(prefix(flags(&[]).over(below())), "staging");
        assert_eq!(prefix(flags(&["--policies=x", "--store=redis://h"])), "tg");
        let error = file("store: redis://h\nkeyPrefix: 'a{b}'\n").expect_err("braces");
        for part in ["keyPrefix", "line 2", "1 to 32 characters"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_wrong_setting_of_redis_is_named_with_its_place() {
        let error = file("redis:\n  tls:\n    ca: /ca\n").expect_err("unknown");
        assert!(
            error.contains("redis.tls") && error.contains("line 3"),
            "{error}"
        );
    }

    #[test]
    fn settings_that_would_do_nothing_are_refused() {
        for (arguments, part) in [
            (
                &["--store=redis://h", "--redis-tls-ca-file=/ca"][..],
                "rediss",
            ),
            (
                &["--store=rediss://h", "--redis-tls-cert-file=/c"],
                "keyFile",
            ),
            (
                &["--store=redis+cluster://h", "--redis-sentinel-tls=true"],
                "sentinel://",
            ),
            (
                &["--store=redis://h", "--redis-username=toolgate"],
                "passwordFile",
            ),
            (
                &[
                    "--store=redis+sentinel://h/m",
                    "--redis-sentinel-username=eye",
                ],
                "passwordFile",
            ),
            (&["--store=redis+none://h"], "redis+cluster://"),
        ] {
            let settings = flags(&[&["--policies=x"], arguments].concat());
            let error = Config::try_from(settings).expect_err("refused").to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
