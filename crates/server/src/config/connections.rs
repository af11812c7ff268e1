//! Bounds on connections.

use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use toolgate_limit::GoDuration;
use toolgate_redis::MAX_CHECKS_OF_BATCH;

use super::{ConfigError, duration, from_text};

/// Bounds on connections to the gRPC API, as one source gives them.
#[derive(Args, Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ConnectionSettings {
    /// The most connections to the gRPC API; more are closed at once [default: 4096]
    #[arg(
        id = "connections_max",
        long = "connections-max",
        value_name = "COUNT",
        env = "TOOLGATE_CONNECTIONS_MAX"
    )]
    pub max: Option<usize>,

    /// The most calls and streams at a time on one connection [default: 1024]
    #[arg(
        id = "connections_max_streams",
        long = "connections-max-streams",
        value_name = "COUNT",
        env = "TOOLGATE_CONNECTIONS_MAX_STREAMS"
    )]
    pub max_streams: Option<u32>,

    /// The most calls and streams at a time on all connections; more are answered
    /// `RESOURCE_EXHAUSTED` [default: 16384]
    #[arg(
        id = "connections_max_calls",
        long = "connections-max-calls",
        value_name = "COUNT",
        env = "TOOLGATE_CONNECTIONS_MAX_CALLS"
    )]
    pub max_calls: Option<usize>,

    /// The most connections of one caller [default: half of max, at least 64]
    #[arg(
        id = "connections_max_per_caller",
        long = "connections-max-per-caller",
        value_name = "COUNT",
        env = "TOOLGATE_CONNECTIONS_MAX_PER_CALLER"
    )]
    pub max_per_caller: Option<usize>,

    /// The most calls and streams of one caller at a time [default: half of maxCalls, at least 1024]
    #[arg(
        id = "connections_max_calls_per_caller",
        long = "connections-max-calls-per-caller",
        value_name = "COUNT",
        env = "TOOLGATE_CONNECTIONS_MAX_CALLS_PER_CALLER"
    )]
    pub max_calls_per_caller: Option<usize>,

    /// The most checks of one caller that are decided at a time [default: half of maxInFlight, at least
    /// 1024]
    #[arg(
        id = "connections_max_checks_per_caller",
        long = "connections-max-checks-per-caller",
        value_name = "COUNT",
        env = "TOOLGATE_CONNECTIONS_MAX_CHECKS_PER_CALLER"
    )]
    pub max_checks_per_caller: Option<usize>,

    /// The most checks of the streams of one connection that are in flight or whose answers are unread;
    /// at the bound its streams are read no further [default: a quarter of maxInFlight, at least 64]
    #[arg(
        id = "connections_max_checks",
        long = "connections-max-checks",
        value_name = "COUNT",
        env = "TOOLGATE_CONNECTIONS_MAX_CHECKS"
    )]
    pub max_checks: Option<usize>,

    /// A connection that leaves answers untaken for this time is closed [default: 10s]
    #[arg(
        id = "connections_unread_timeout",
        long = "connections-unread-timeout",
        value_name = "DURATION",
        env = "TOOLGATE_CONNECTIONS_UNREAD_TIMEOUT"
    )]
    #[serde(deserialize_with = "from_text")]
    pub unread_timeout: Option<GoDuration>,

    /// How long a message of a call may take from its first byte to its last [default: 5s]
    #[arg(
        id = "connections_message_timeout",
        long = "connections-message-timeout",
        value_name = "DURATION",
        env = "TOOLGATE_CONNECTIONS_MESSAGE_TIMEOUT"
    )]
    #[serde(deserialize_with = "from_text")]
    pub message_timeout: Option<GoDuration>,

    /// After this time, give or take a tenth, callers are asked to connect anew, so that load
    /// spreads over replicas that came later; 0s for never [default: 5m]
    #[arg(
        id = "connections_max_age",
        long = "connections-max-age",
        value_name = "DURATION",
        env = "TOOLGATE_CONNECTIONS_MAX_AGE"
    )]
    #[serde(deserialize_with = "from_text")]
    pub max_age: Option<GoDuration>,

    /// How long calls and streams on such a connection have yet to end [default: 30s]
    #[arg(
        id = "connections_max_age_grace",
        long = "connections-max-age-grace",
        value_name = "DURATION",
        env = "TOOLGATE_CONNECTIONS_MAX_AGE_GRACE"
    )]
    #[serde(deserialize_with = "from_text")]
    pub max_age_grace: Option<GoDuration>,

    /// How long a new connection has for its TLS handshake and HTTP/2 preface [default: 5s]
    #[arg(
        id = "connections_handshake_timeout",
        long = "connections-handshake-timeout",
        value_name = "DURATION",
        env = "TOOLGATE_CONNECTIONS_HANDSHAKE_TIMEOUT"
    )]
    #[serde(deserialize_with = "from_text")]
    pub handshake_timeout: Option<GoDuration>,
}

/// Bounds on connections to the gRPC API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionBounds {
    /// The most connections.
    pub max: usize,
    /// The most calls and streams at a time on one of them.
    pub max_streams: u32,
    /// The most calls and streams at a time on all of them.
    pub max_calls: usize,
    /// The most connections of one caller.
    pub max_per_caller: usize,
    /// The most calls and streams of one caller at a time.
    pub max_calls_per_caller: usize,
    /// The most checks of one caller that are decided at a time.
    pub max_checks_per_caller: usize,
    /// The most checks of the streams of one of them that are in flight or whose answers are unread.
    pub max_checks: usize,
    /// How long one may leave answers untaken.
    pub unread_timeout: Duration,
    /// How long a message may take from its first byte to its last.
    pub message_timeout: Duration,
    /// When callers are asked to connect anew, give or take a tenth. None: never.
    pub max_age: Option<Duration>,
    /// How long calls and streams have from then on.
    pub max_age_grace: Duration,
    /// How long TLS handshake and HTTP/2 preface may take together.
    pub handshake_timeout: Duration,
}

impl ConnectionSettings {
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            max: self.max.or(below.max),
            max_streams: self.max_streams.or(below.max_streams),
            max_calls: self.max_calls.or(below.max_calls),
            max_per_caller: self.max_per_caller.or(below.max_per_caller),
            max_calls_per_caller: self.max_calls_per_caller.or(below.max_calls_per_caller),
            max_checks_per_caller: self.max_checks_per_caller.or(below.max_checks_per_caller),
            max_checks: self.max_checks.or(below.max_checks),
            unread_timeout: self.unread_timeout.or(below.unread_timeout),
            message_timeout: self.message_timeout.or(below.message_timeout),
            max_age: self.max_age.or(below.max_age),
            max_age_grace: self.max_age_grace.or(below.max_age_grace),
            handshake_timeout: self.handshake_timeout.or(below.handshake_timeout),
        }
    }

    /// Where all connections may have `max_in_flight` checks in flight.
    pub(crate) fn into_bounds(self, max_in_flight: usize) -> Result<ConnectionBounds, ConfigError> {
        let seconds = Duration::from_secs;
        let share = (max_in_flight / 4).max(MAX_CHECKS_OF_BATCH);
        let max = some("connections.max", self.max, 4_096)?;
        let max_calls = some("connections.maxCalls", self.max_calls, 16_384)?;
        let max_age = self.max_age.map_or(seconds(300), |GoDuration(age)| age);
        Ok(ConnectionBounds {
            max,
            max_streams: some("connections.maxStreams", self.max_streams, 1_024)?,
            max_calls,
            max_per_caller: some(
                "connections.maxPerCaller",
                self.max_per_caller,
                half(max, 64),
            )?,
            max_calls_per_caller: some(
                "connections.maxCallsPerCaller",
                self.max_calls_per_caller,
                half(max_calls, 1_024),
            )?,
            max_checks_per_caller: some(
                "connections.maxChecksPerCaller",
                self.max_checks_per_caller,
                half(max_in_flight, 1_024),
            )?,
            max_checks: some("connections.maxChecks", self.max_checks, share)?,
            unread_timeout: duration(
                "connections.unreadTimeout",
                self.unread_timeout,
                seconds(10),
            )?,
            message_timeout: duration(
                "connections.messageTimeout",
                self.message_timeout,
                seconds(5),
            )?,
            max_age: Some(max_age).filter(|age| !age.is_zero()),
            max_age_grace: duration("connections.maxAgeGrace", self.max_age_grace, seconds(30))?,
            handshake_timeout: duration(
                "connections.handshakeTimeout",
                self.handshake_timeout,
                seconds(5),
            )?,
        })
    }
}

/// What one caller may have of `max`. One gateway that is alone needs `least`.
fn half(max: usize, least: usize) -> usize {
    (max / 2).max(least.min(max))
}

/// A bound of zero would shut everybody out.
fn some<T: From<u8> + PartialEq>(
    name: &'static str,
    given: Option<T>,
    default: T,
) -> Result<T, ConfigError> {
    match given {
        Some(given) if given == T::from(0) => Err(ConfigError::ZeroCount(name)),
        given => Ok(given.unwrap_or(default)),
    }
}
