//! All that can be set.

use std::{path::PathBuf, time::Duration};

use crate::{Backoff, BreakerConfig, Endpoint};

/// How a [`Client`](crate::Client) reaches its limiter, and how long it tries.
///
/// ```
/// use std::time::Duration;
/// use toolgate_client::ClientConfig;
///
/// let config = ClientConfig {
///     timeout: Duration::from_millis(20),
///     ..ClientConfig::new("unix:///run/toolgate.sock".parse()?)
/// };
/// assert_eq!(config.breaker.failures, 5);
/// # Ok::<(), toolgate_client::EndpointError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Where limiters are.
    pub endpoint: Endpoint,
    /// Certificates, for `https` and for `dns` over TLS. Default: none.
    pub tls: Option<TlsFiles>,
    /// How long a check may take, all in all. The limiter is told. Default: 50 ms.
    pub timeout: Duration,
    /// The most checks that wait for one limiter replica at a time; one more fails at once. A
    /// limiter decides 1,024 checks of a stream at a time. Default: 1,024.
    pub max_in_flight: usize,
    /// How long an attempt to connect may take, up to the reply to the stream. No check waits for
    /// it but during the very first attempt. Default: 1 s.
    pub connect_timeout: Duration,
    /// How long a connection may be silent before it is asked whether it lives. It is given
    /// [`ClientConfig::connect_timeout`] to reply. Default: 10 s.
    pub keep_alive: Duration,
    /// Waits between attempts to connect. Default: 100 ms, doubling to 5 s.
    pub reconnect: Backoff,
    /// How often the addresses of a `dns` endpoint are looked up. They are also looked up when a
    /// replica is lost, but not twice within a fifth of this. Default: 5 s, the time for which
    /// Kubernetes' DNS lets answers be cached.
    pub resolve_interval: Duration,
    /// How long a denial is remembered at most, so that the limiter is not asked for it again; zero
    /// for not at all. A reset of the bucket or a raised limit is seen so much later, on top of what
    /// the limiter itself remembers. Default: 1 s.
    pub remember_denials: Duration,
    /// Whom to leave alone. Default: 5 failures in a row, probes after 1 s, doubling to 30 s.
    pub breaker: BreakerConfig,
}

/// Certificates in PEM files. They are read for each new connection, so that a rotated one is used
/// without a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Who may vouch for the limiter.
    pub ca: PathBuf,
    /// With what this client shows who it is, if it does: its certificate chain and the key.
    pub identity: Option<TlsIdentity>,
    /// The name that the limiter's certificate must have. Default: the endpoint's host.
    pub server_name: Option<String>,
}

/// A client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsIdentity {
    /// The certificate, with those between it and the authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Settings that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A time is zero or has no end.
    #[error("{0} must be above zero and at most a day")]
    Span(&'static str),
    /// A number is zero or has no end.
    #[error("{0} must be from 1 to 1000000")]
    Count(&'static str),
    /// `https` without TLS files.
    #[error("an https endpoint needs TLS files: at least the CA of the limiter's certificate")]
    NoCa,
    /// TLS files without TLS.
    #[error("TLS files are set, but the endpoint is http or unix; write https or dns")]
    NoTls,
}

/// More than anybody waits for, and far below where instants overflow.
const LONGEST: Duration = Duration::from_hours(24);

impl ClientConfig {
    /// The defaults, for limiters at `endpoint`.
    pub const fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            tls: None,
            timeout: Duration::from_millis(50),
            max_in_flight: 1_024,
            connect_timeout: Duration::from_secs(1),
            keep_alive: Duration::from_secs(10),
            reconnect: Backoff {
                first: Duration::from_millis(100),
                longest: Duration::from_secs(5),
            },
            resolve_interval: Duration::from_secs(5),
            remember_denials: Duration::from_secs(1),
            breaker: BreakerConfig {
                failures: 5,
                probe: Backoff {
                    first: Duration::from_secs(1),
                    longest: Duration::from_secs(30),
                },
            },
        }
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let spans = [
            ("timeout", self.timeout),
            ("connect_timeout", self.connect_timeout),
            ("keep_alive", self.keep_alive),
            ("resolve_interval", self.resolve_interval),
            ("reconnect.first", self.reconnect.first),
            ("reconnect.longest", self.reconnect.longest),
            ("breaker.probe.first", self.breaker.probe.first),
            ("breaker.probe.longest", self.breaker.probe.longest),
        ];
        let is_wrong = |span: Duration| span.is_zero() || span > LONGEST;
        if let Some((name, _)) = spans.into_iter().find(|(_, span)| is_wrong(*span)) {
            return Err(ConfigError::Span(name));
        }
        if !(1..=1_000_000).contains(&self.max_in_flight) {
            return Err(ConfigError::Count("max_in_flight"));
        }
        if !(1..=1_000_000).contains(&self.breaker.failures) {
            return Err(ConfigError::Count("breaker.failures"));
        }
        match (&self.endpoint, &self.tls) {
            (Endpoint::Url { tls: true, .. }, None) => Err(ConfigError::NoCa),
            (Endpoint::Url { tls: false, .. } | Endpoint::Unix(_), Some(_)) => {
                Err(ConfigError::NoTls)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(endpoint: &str) -> ClientConfig {
        ClientConfig::new(endpoint.parse().expect(endpoint))
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let tls = Some(TlsFiles {
            ca: "ca.pem".into(),
            identity: None,
            server_name: None,
        });
        let with_tls = |endpoint| ClientConfig {
            tls: tls.clone(),
            ..config(endpoint)
        };
        assert_eq!(config("https://l:1").validate(), Err(ConfigError::NoCa));
        assert_eq!(with_tls("https://l:1").validate(), Ok(()));
        assert_eq!(with_tls("http://l:1").validate(), Err(ConfigError::NoTls));
        assert_eq!(with_tls("unix:///l").validate(), Err(ConfigError::NoTls));
        assert_eq!(with_tls("dns:///l:1").validate(), Ok(()));
        assert_eq!(config("dns:///l:1").validate(), Ok(()));
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        for timeout in [Duration::ZERO, Duration::MAX] {
            let config = ClientConfig {
                timeout,
                ..config("http://l:1")
            };
            assert_eq!(config.validate(), Err(ConfigError::Span("timeout")));
        }
        for max_in_flight in [0, usize::MAX] {
            let config = ClientConfig {
                max_in_flight,
                ..config("http://l:1")
            };
            let error = Err(ConfigError::Count("max_in_flight"));
            assert_eq!(config.validate(), error);
        }
    }
}
