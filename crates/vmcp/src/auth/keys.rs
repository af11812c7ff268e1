//! The keys of an issuer: fetched when first needed, kept, and fetched again when they are old or
//! when a token names one that is not among them.
//!
//! Nobody waits for a fetch whose key is known: old keys are fetched again in the background, and
//! serve until there are new ones.
//!
//! While an issuer that has failed is asked again, only the caller who made it so waits. All others are
//! answered by what the last fetch has shown.
//!
//! A token can name any key, so a fetch for an unknown one is limited in rate: whoever sends
//! nonsense cannot make this server hammer the issuer. A fetch is a task of its own, which all
//! callers wait for: whoever hangs up in the middle of it takes it from nobody.

use std::{
    error::Error,
    iter,
    sync::{Arc, Weak},
    time::Duration,
};

use jsonwebtoken::{Algorithm, DecodingKey};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tracing::{info, warn};

mod documents;
mod set;

pub(super) use set::ALGORITHMS;
use set::KeySet;

/// Where keys come from, and how long they are kept.
#[derive(Clone, Debug)]
pub struct KeysSettings {
    /// The issuer, whose discovery document names the place of its keys.
    pub issuer: String,
    /// The place of its keys, where it has no discovery document.
    pub jwks_url: Option<String>,
    /// The age at which keys are fetched again. When that fails they are kept.
    pub max_age: Duration,
    /// The least time between the end of a fetch and the next one.
    pub min_interval: Duration,
    /// The deadline of a fetch, all its documents together.
    pub timeout: Duration,
}

impl KeysSettings {
    /// The keys that `issuer` publishes, at most an hour old.
    pub fn of(issuer: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            jwks_url: None,
            max_age: Duration::from_hours(1),
            min_interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
        }
    }
}

/// Why the keys of an issuer could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// A document could not be fetched.
    #[error("cannot fetch {url}")]
    Fetch {
        /// The document.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// A document is longer than any that is meant for this.
    #[error("{url} is longer than {max} bytes")]
    TooLong {
        /// The document.
        url: String,
        /// The longest that is read.
        max: usize,
    },
    /// A document is not what it should be.
    #[error("cannot read {url}")]
    Read {
        /// The document.
        url: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The discovery document speaks for another issuer.
    #[error("{url} is of the issuer {found:?}")]
    OtherIssuer {
        /// The document.
        url: String,
        /// The issuer it names.
        found: String,
    },
    /// The issuer is reached by https, and its keys would not be.
    #[error("{url} has the jwks_uri {found:?}, which must be https as the issuer is")]
    Insecure {
        /// The document.
        url: String,
        /// The place that it names.
        found: String,
    },
    /// There is no key in it that a token could be checked with.
    #[error("{url} has no key that can be used{unusable}")]
    NoKeys {
        /// The document.
        url: String,
        /// What is wrong with the first of its keys.
        unusable: String,
    },
    /// The documents did not come in time.
    #[error("the keys did not come within {0:?}")]
    Late(Duration),
    /// The fetch ended without a result, which only a defect or the end of the process does.
    #[error("the fetch of the keys was broken off")]
    BrokenOff,
}

#[derive(Debug)]
pub(super) struct Keys(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: KeysSettings,
    client: reqwest::Client,
    state: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct State {
    keys: Option<Arc<KeySet>>,
    /// When `keys` came.
    fetched: Option<Instant>,
    /// Whether a fetch is on its way.
    is_fetching: bool,
    /// When the last fetch ended.
    ended: Option<Instant>,
    /// Why the last fetch failed, if it did.
    failure: Option<Arc<KeysError>>,
}

/// A fetch on its way. However it ends, callers stop waiting for it.
struct Fetch {
    shared: Arc<Shared>,
    result: Result<KeySet, KeysError>,
}

impl Keys {
    pub(super) fn with_client(
        settings: KeysSettings,
        client: reqwest::ClientBuilder,
    ) -> Result<Self, reqwest::Error> {
        crate::tls::use_ring();
        Ok(Self(Arc::new(Shared {
            settings,
            client: client.redirect(documents::redirects()).build()?,
            state: watch::Sender::default(),
        })))
    }

    /// The key `kid` for signatures of `algorithm`, or, for a token that names none, the only one
    /// for them. None if there is no such key.
    ///
    /// Waits for at most one fetch, which has a deadline, and for none if the key is known. If the last
    /// one has failed, only the caller who begins the next one waits: all who have no good token could
    /// keep their connections by waiting.
    pub(super) async fn find(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Option<DecodingKey>, Arc<KeysError>> {
        let known = {
            let state = self.0.state.borrow();
            let keys = state.keys.as_ref();
            keys.and_then(|keys| keys.find(kid, algorithm))
        };
        if known.is_some() {
            return Ok(known);
        }
        let begins = self.0.fetch_if_due();
        let mut state = self.0.state.subscribe();
        let is_told = |state: &State| !state.is_fetching || (!begins && state.failure.is_some());
        // An error means that there is no sender, but `self` has it.
        let _ = state.wait_for(is_told).await;
        let state = state.borrow();
        match (&state.keys, &state.failure) {
            (Some(keys), _) => Ok(keys.find(kid, algorithm)),
            (None, Some(failure)) => Err(Arc::clone(failure)),
            (None, None) => Err(Arc::new(KeysError::BrokenOff)),
        }
    }
}

impl Fetch {
    async fn run(mut self) {
        let Shared {
            settings, client, ..
        } = self.shared.as_ref();
        let fetch = timeout(settings.timeout, documents::fetch(client, settings));
        let late = |_| Err(KeysError::Late(settings.timeout));
        self.result = fetch.await.unwrap_or_else(late);
        let is_first = self.shared.state.borrow().keys.is_none();
        if is_first && self.result.is_ok() {
            tokio::spawn(refresh(Arc::downgrade(&self.shared)));
        }
    }
}

/// Fetches old keys again, as long as somebody checks tokens with them.
async fn refresh(shared: Weak<Shared>) {
    let due = || shared.upgrade().map(|shared| shared.refresh_due());
    while let Some(due) = due() {
        sleep_until(due).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        shared.fetch_if_due();
        let mut state = shared.state.subscribe();
        // An error means that there is no sender, but `shared` has it.
        let _ = state.wait_for(|state| !state.is_fetching).await;
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        let now = Instant::now();
        let result = std::mem::replace(&mut self.result, Err(KeysError::BrokenOff));
        let result = result.map(Arc::new).map_err(Arc::new);
        self.shared.log_changes(&result);
        self.shared.state.send_modify(|state| {
            state.is_fetching = false;
            state.ended = Some(now);
            state.failure = result.as_ref().err().cloned();
            if let Ok(keys) = result {
                state.keys = Some(keys);
                state.fetched = Some(now);
            }
        });
    }
}

impl Shared {
    /// Begins a fetch, unless there is one or the last has just ended. Says whether it did.
    fn fetch_if_due(self: &Arc<Self>) -> bool {
        let least = self.settings.min_interval;
        let begun = self.state.send_if_modified(|state| {
            let is_due = state.ended.is_none_or(|at| at.elapsed() >= least);
            let begins = is_due && !state.is_fetching;
            state.is_fetching |= begins;
            begins
        });
        if begun {
            let shared = Arc::clone(self);
            let result = Err(KeysError::BrokenOff);
            tokio::spawn(Fetch { shared, result }.run());
        }
        begun
    }

    /// When the keys are old, and may be fetched.
    fn refresh_due(&self) -> Instant {
        let state = self.state.borrow();
        let now = Instant::now();
        let old = state.fetched.map_or(now, |at| at + self.settings.max_age);
        let may = state
            .ended
            .map_or(now, |at| at + self.settings.min_interval);
        old.max(may)
    }

    /// Says what is new, once: callers must not fill the log by coming again.
    fn log_changes(&self, result: &Result<Arc<KeySet>, Arc<KeysError>>) {
        let (before, was_failing) = {
            // Not held while the log is written, for callers may wait for it.
            let state = self.state.borrow();
            (state.keys.clone(), state.failure.is_some())
        };
        let issuer = &self.settings.issuer;
        match result {
            Err(error) if !was_failing => {
                let error = chain(error);
                if before.is_some() {
                    warn!(
                        issuer,
                        error, "the keys of the issuer cannot be had, old ones are used"
                    );
                } else {
                    warn!(
                        issuer,
                        error, "the keys of the issuer cannot be had, nobody is let in"
                    );
                }
            }
            Ok(_) if was_failing => info!(issuer, "the keys of the issuer can be had again"),
            Ok(_) | Err(_) => {}
        }
        let Ok(keys) = result else { return };
        let unusable = keys.unusable();
        if !unusable.is_empty() && before.is_none_or(|before| before.unusable() != unusable) {
            let unusable = unusable.join("; ");
            warn!(issuer, unusable, "some keys of the issuer cannot be used");
        }
    }
}

/// The error and all its causes.
fn chain(error: &KeysError) -> String {
    let causes = iter::successors(Some(error as &dyn Error), |&error| error.source());
    let causes: Vec<_> = causes.map(|cause| cut(&cause.to_string())).collect();
    causes.join(": ")
}

/// The most bytes of a reason that the log has: what an issuer has written may be in it.
const MAX_REASON: usize = 256;

/// The beginning of `reason`.
fn cut(reason: &str) -> String {
    let end = reason.floor_char_boundary(MAX_REASON);
    let more = if end < reason.len() { "…" } else { "" };
    format!("{}{more}", &reason[..end])
}
