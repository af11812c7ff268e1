//! The field `limiter`: the word `embedded`, or where the limiter is.

use std::{fmt, path::PathBuf, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};
use toolgate_client::{ClientConfig, Endpoint, OnUnavailable, TlsFiles, TlsIdentity};

use super::text;

/// Who decides on calls.
#[derive(Clone, Debug)]
pub enum LimiterConfig {
    /// This process, by itself: for development, and for a single replica.
    Embedded,
    /// Limiters that all replicas share.
    Remote(RemoteLimiter),
}

/// A limiter service, and how long this gateway waits for it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RemoteLimiter {
    /// `http(s)://host:port`, `dns:///name:port` or `unix:///path`.
    #[serde(deserialize_with = "text::parsed")]
    pub endpoint: Endpoint,
    /// How long a check may take, all in all.
    #[serde(default, deserialize_with = "text::duration")]
    pub timeout: Option<Duration>,
    /// How long an attempt to connect may take.
    #[serde(default, deserialize_with = "text::duration")]
    pub connect_timeout: Option<Duration>,
    /// How long a denial is remembered at most, so that it is not asked for again; zero for not at
    /// all.
    #[serde(default, deserialize_with = "text::duration_or_zero")]
    pub remember_denials: Option<Duration>,
    /// What happens to a call on which no decision was made.
    #[serde(default)]
    pub on_unavailable: OnUnavailableConfig,
    /// Certificates.
    pub tls: Option<TlsConfig>,
}

/// What happens to a call on which no decision was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnUnavailableConfig {
    /// It runs.
    #[default]
    Allow,
    /// It is refused.
    Deny,
}

impl From<OnUnavailableConfig> for OnUnavailable {
    fn from(config: OnUnavailableConfig) -> Self {
        match config {
            OnUnavailableConfig::Allow => Self::Allow,
            OnUnavailableConfig::Deny => Self::Deny,
        }
    }
}

/// PEM files.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsConfig {
    /// Who may vouch for the limiter.
    pub ca: PathBuf,
    /// The certificate that this gateway shows, with its key.
    pub certificate: Option<PathBuf>,
    /// The key of that certificate.
    pub key: Option<PathBuf>,
    /// The name that the limiter's certificate must have, if not that of the endpoint.
    pub server_name: Option<String>,
}

impl RemoteLimiter {
    /// An error is the name of what is missing.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, &'static str> {
        let mut config = ClientConfig::new(self.endpoint.clone());
        config.timeout = self.timeout.unwrap_or(config.timeout);
        config.connect_timeout = self.connect_timeout.unwrap_or(config.connect_timeout);
        config.remember_denials = self.remember_denials.unwrap_or(config.remember_denials);
        config.tls = self.tls.as_ref().map(TlsConfig::files).transpose()?;
        Ok(config)
    }
}

impl TlsConfig {
    fn files(&self) -> Result<TlsFiles, &'static str> {
        let identity = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Some(TlsIdentity {
                certificate: certificate.clone(),
                key: key.clone(),
            }),
            (None, None) => None,
            (Some(_), None) => return Err("limiter.tls.key"),
            (None, Some(_)) => return Err("limiter.tls.certificate"),
        };
        Ok(TlsFiles {
            ca: self.ca.clone(),
            identity,
            server_name: self.server_name.clone(),
        })
    }
}

impl<'de> Deserialize<'de> for LimiterConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LimiterVisitor)
    }
}

struct LimiterVisitor;

impl<'de> Visitor<'de> for LimiterVisitor {
    type Value = LimiterConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"embedded\", or a mapping with an endpoint")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<LimiterConfig, E> {
        if word == "embedded" {
            return Ok(LimiterConfig::Embedded);
        }
        Err(E::invalid_value(serde::de::Unexpected::Str(word), &self))
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<LimiterConfig, M::Error> {
        let remote = RemoteLimiter::deserialize(MapAccessDeserializer::new(map))?;
        Ok(LimiterConfig::Remote(remote))
    }
}
