//! Faults of configuration: no wait mends them, and calls run unlimited until somebody does.
//!
//! An outage of the limiter is logged when it begins and when it is over. A fault of configuration
//! is an error from its first occurrence on, with the remedy, and again every minute while it lasts.
//! Faults are told apart by their kind and by the server or limiter that they concern. So the log
//! holds at most [`MAX_KNOWN`] lines a minute and one for each kind.

use std::{
    collections::HashMap,
    error::Error,
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use toolgate_limit::{LimiterError, ServerId};

use crate::{connection::ConnectError, counters::Counter, spoken::Spoken};

/// A fault is logged again after so long.
const EVERY: Duration = Duration::from_mins(1);

/// The most faults that are told apart; those beyond are logged together, by kind.
const MAX_KNOWN: usize = 64;

/// A fault of configuration: the label of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConfigFault {
    /// The limiter finds this client's checks invalid.
    InvalidArgument,
    /// This client may not check this server.
    PermissionDenied,
    /// The limiter does not know who this client is.
    Unauthenticated,
    /// What answers is no limiter, or one that does not speak this API.
    Unimplemented,
    /// No TLS connection can be made: a certificate is refused, a name does not match, a file cannot
    /// be read, or only one of the ends speaks TLS.
    Tls,
}

impl ConfigFault {
    /// All faults, in the order of their definition.
    pub const ALL: [Self; 5] = [
        Self::InvalidArgument,
        Self::PermissionDenied,
        Self::Unauthenticated,
        Self::Unimplemented,
        Self::Tls,
    ];

    /// The fault as a label: `permission_denied`, `tls`, and so on.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::PermissionDenied => "permission_denied",
            Self::Unauthenticated => "unauthenticated",
            Self::Unimplemented => "unimplemented",
            Self::Tls => "tls",
        }
    }

    /// What to do about it.
    const fn remedy(self) -> &'static str {
        match self {
            Self::InvalidArgument => {
                "check the server's name and that limiter and gateway are of matching releases"
            }
            Self::PermissionDenied => {
                "add a rule for this gateway's certificate and this server to the limiter's `callers`"
            }
            Self::Unauthenticated => {
                "give this gateway a client certificate that the limiter knows"
            }
            Self::Unimplemented => {
                "check that the endpoint is that of a limiter, and that its release matches"
            }
            Self::Tls => {
                "check the CA, the server name and the client certificate, and that both ends use TLS"
            }
        }
    }

    /// The fault that a gRPC code means, by the code's name.
    fn of_code(code: &str) -> Option<Self> {
        match code {
            "InvalidArgument" => Some(Self::InvalidArgument),
            "PermissionDenied" => Some(Self::PermissionDenied),
            "Unauthenticated" => Some(Self::Unauthenticated),
            "Unimplemented" => Some(Self::Unimplemented),
            _ => None,
        }
    }

    fn of_check(error: &LimiterError) -> Option<Self> {
        match error {
            LimiterError::Rejected { code, .. } | LimiterError::Failed { code, .. } => {
                Self::of_code(code)
            }
            _ => None,
        }
    }

    fn of_connection(error: &ConnectError) -> Option<Self> {
        match error {
            ConnectError::TlsFile { .. } | ConnectError::Other(Spoken::Tls) => Some(Self::Tls),
            ConnectError::Transport(error) => is_of_tls(error).then_some(Self::Tls),
            // The limiter's side of a handshake can fail when the client's is done.
            ConnectError::Stream(status) if is_of_tls(status) => Some(Self::Tls),
            ConnectError::Stream(status) => Self::of_code(&format!("{:?}", status.code())),
            ConnectError::Other(Spoken::Http1) => Some(Self::Unimplemented),
            ConnectError::Name(_) | ConnectError::Timeout => None,
        }
    }
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether TLS is what failed, at whatever depth `error` says so.
fn is_of_tls(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        // An I/O error passes over the error that it holds.
        let io = error.downcast_ref::<io::Error>();
        let held = io.and_then(io::Error::get_ref);
        if error.is::<rustls::Error>()
            || held.is_some_and(<dyn Error + Send + Sync>::is::<rustls::Error>)
            || io.is_some_and(is_alert)
        {
            return true;
        }
        next = error.source();
    }
    false
}

/// Whether the other end has refused this one, as it refuses a client certificate when the client
/// takes the handshake for done. HTTP/2 then passes on no more than kind and text of the error.
fn is_alert(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
        && error.to_string().starts_with("received fatal alert")
}

/// The faults of one client: counted for metrics, and logged.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    counts: [Counter; ConfigFault::ALL.len()],
    told: Mutex<HashMap<(ConfigFault, Arc<str>), Told>>,
}

/// When a fault was logged last, and how often it was seen since.
#[derive(Debug)]
struct Told {
    at: Instant,
    seen: u64,
}

impl Faults {
    /// How often `fault` was seen.
    pub(crate) fn count(&self, fault: ConfigFault) -> u64 {
        self.counts[fault as usize].get()
    }

    /// A check of `server` was not decided.
    pub(crate) fn see_check(&self, server: &ServerId, error: &LimiterError) {
        if let Some(fault) = ConfigFault::of_check(error) {
            self.see(fault, server.as_str(), error);
        }
    }

    /// No connection to `limiter` could be made; says whether that is a fault of configuration.
    pub(crate) fn see_connection(&self, limiter: &str, error: &ConnectError) -> bool {
        let fault = ConfigFault::of_connection(error);
        if let Some(fault) = fault {
            self.see(fault, limiter, error);
        }
        fault.is_some()
    }

    fn see(&self, fault: ConfigFault, at: &str, error: &dyn fmt::Display) {
        self.counts[fault as usize].increment();
        let Some(times) = self.is_due(fault, at, Instant::now()) else {
            return;
        };
        let (cause, remedy) = (fault.as_str(), fault.remedy());
        tracing::error!(
            cause, at, times, %error,
            "calls are not limited until the configuration is mended: {remedy}"
        );
    }

    /// How often `fault` was seen since it was logged, if it is time to log it.
    fn is_due(&self, fault: ConfigFault, at: &str, now: Instant) -> Option<u64> {
        // It is changed in one step, so a poisoned lock is as good as any.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (fault, Arc::from(at));
        if !told.contains_key(&key) && told.len() >= MAX_KNOWN {
            told.retain(|_, told| now.saturating_duration_since(told.at) < EVERY);
            if told.len() >= MAX_KNOWN {
                key.1 = Arc::from("others");
            }
        }
        let Some(told) = told.get_mut(&key) else {
            told.insert(key, Told { at: now, seen: 0 });
            return Some(1);
        };
        told.seen += 1;
        if now.saturating_duration_since(told.at) < EVERY {
            return None;
        }
        told.at = now;
        Some(std::mem::take(&mut told.seen))
    }
}

#[cfg(test)]
mod tests;
