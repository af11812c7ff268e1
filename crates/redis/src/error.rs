//! What Redis says when it makes no decision, in classes that have a name.

use std::{error::Error as _, fmt, io, sync::Arc};

use redis::{ErrorKind, RedisError, ServerError};
use toolgate_limit::StoreError;

mod class;

pub use class::ErrorClass;

/// Why a call to Redis has no result.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// Redis has answered, with an error.
    Refused(RedisError),
    /// There was no connection or no reply; what was sent may have been done.
    NoReply(StoreError),
}

/// What is wrong with Redis or with the way to it.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) class: ErrorClass,
    text: Arc<str>,
    source: Option<RedisError>,
}

/// What becomes of the connection on which an error came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// It is as good as any: the error passes, or an operator mends it.
    Keep,
    /// A new one may lead to a node that decides, or log in with the password of now. Where there
    /// are sentinels, they are asked for the master again.
    Reconnect,
}

impl Fault {
    /// `text` says what is wrong, without secrets.
    pub(crate) fn new(class: ErrorClass, text: impl Into<Arc<str>>) -> Self {
        let (text, source) = (text.into(), None);
        Self {
            class,
            text,
            source,
        }
    }

    /// This fault, as that of `node`.
    pub(crate) fn at(mut self, node: impl fmt::Display) -> Self {
        self.text = format!("Redis at {node}: {}", self.text).into();
        self
    }
}

impl From<&RedisError> for Fault {
    fn from(error: &RedisError) -> Self {
        let class = ErrorClass::from(error);
        let said = match first_refusal(error) {
            Some(refusal) => said(&refusal),
            None => error.to_string(),
        };
        let said = in_one_line(&said);
        let text = match class.advice() {
            "" => said,
            advice => format!("{said} ({advice})"),
        };
        Self {
            class,
            text: text.into(),
            source: Some(error.clone()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        StoreError::Unavailable {
            kind: fault.class.as_str(),
            reason: fault.text.to_string(),
            source: fault.source.map(|error| Arc::new(error) as _),
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoReply(error) => error,
            Failure::Refused(error) if is_of_one_value(&error) => {
                corrupt("a key of these buckets is no hash")
            }
            Failure::Refused(error) => Fault::from(&error).into(),
        }
    }
}

impl From<&RedisError> for ErrorClass {
    fn from(error: &RedisError) -> Self {
        if let Some(refusal) = first_refusal(error) {
            return Self::of_refusal(refusal.code(), refusal.details().unwrap_or_default());
        }
        match error.kind() {
            ErrorKind::AuthenticationFailed => Self::WrongPassword,
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Self::Protocol,
            ErrorKind::InvalidClientConfig => Self::Configuration,
            _ if is_of_tls(error) => Self::Tls,
            _ if error.is_io_error() => Self::ConnectionLost,
            _ => Self::Other,
        }
    }
}

/// What is to be done about the connection on which `error` came.
pub(crate) fn remedy(error: &RedisError) -> Remedy {
    let is_lost = error.is_unrecoverable_error() || error.is_io_error();
    if is_lost && first_refusal(error).is_none() {
        return Remedy::Reconnect;
    }
    ErrorClass::from(error).remedy()
}

/// Whether the server has said it.
pub(crate) fn is_refusal(error: &RedisError) -> bool {
    !refusals(error).is_empty()
}

/// All errors with which the server has refused a command, or commands of a pipeline.
pub(crate) fn refusals(error: &RedisError) -> Arc<[(usize, ServerError)]> {
    error.clone().into_server_errors().unwrap_or_default()
}

/// The first of them that says why.
fn first_refusal(error: &RedisError) -> Option<ServerError> {
    let refusals = refusals(error);
    let because = |(_, error): &&(usize, ServerError)| error.code() != "EXECABORT";
    let first = refusals.iter().find(because).or_else(|| refusals.first());
    first.map(|(_, error)| error.clone())
}

/// What the server has said, in its own words.
fn said(refusal: &ServerError) -> String {
    // Of what a script has failed on, its place in the script is of no use to operators.
    let details = refusal.details().unwrap_or_default();
    let details = details.split(" script: ").next().unwrap_or_default();
    [refusal.code(), " ", details]
        .concat()
        .trim_end()
        .to_owned()
}

/// The most characters of what a server has said that are repeated to people.
const MAX_SAID: usize = 300;

/// `text` as a log line and a status may have it: whatever answers in Redis's place has made it up.
fn in_one_line(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(MAX_SAID).map(plain).collect()
}

/// Whether it is about a value under the keys of the call, and not about the server.
fn is_of_one_value(error: &RedisError) -> bool {
    first_refusal(error).is_some_and(|refusal| refusal.code() == "WRONGTYPE")
}

/// Whether `error` comes from TLS, from this side or told by the other.
fn is_of_tls(error: &RedisError) -> bool {
    type Shared = Arc<dyn std::error::Error + Send + Sync>;
    let Some(shared) = error.source().and_then(|e| e.downcast_ref::<Shared>()) else {
        return false;
    };
    let in_io = shared
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    shared.is::<rustls::Error>()
        || in_io.is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>)
}

pub(crate) fn unavailable(reason: &str) -> StoreError {
    Fault::new(ErrorClass::Closed, reason).into()
}

/// A reply as a whole cannot be read: something else than our script has answered, or it was damaged
/// on the way.
pub(crate) fn garbled(what: &'static str) -> StoreError {
    Fault::new(ErrorClass::Protocol, what).into()
}

pub(crate) fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(what.to_owned())
}

#[cfg(test)]
mod tests;
