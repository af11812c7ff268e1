//! The keys of an issuer: fetched when first needed, kept, and fetched again when they are old or
//! when a token names one that is not among them.
//!
//! A token can name any key, so a fetch for an unknown one is limited in rate: whoever sends
//! nonsense cannot make this server hammer the issuer. A fetch is a task of its own, which all
//! callers wait for: whoever hangs up in the middle of it takes it from nobody.

use std::{error::Error, iter, sync::Arc, time::Duration};

use jsonwebtoken::{Algorithm, DecodingKey};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tracing::{info, warn};

mod documents;
mod set;

use set::KeySet;

/// Where keys come from, and how long they are kept.
#[derive(Clone, Debug)]
pub struct KeysSettings {
    /// The issuer, whose discovery document names the place of its keys.
    pub issuer: String,
    /// The place of its keys, where it has no discovery document.
    pub jwks_url: Option<String>,
    /// How long keys are used before they are fetched again. When that fails they are kept.
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
    pub(super) fn new(settings: KeysSettings) -> Result<Self, reqwest::Error> {
        crate::tls::use_ring();
        Ok(Self(Arc::new(Shared {
            settings,
            client: reqwest::Client::builder().build()?,
            state: watch::Sender::default(),
        })))
    }

    /// The key `kid` for signatures of `algorithm`, or, for a token that names none, the only one
    /// for them. None if there is no such key.
    ///
    /// Waits for at most one fetch, which has a deadline.
    pub(super) async fn find(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Option<DecodingKey>, Arc<KeysError>> {
        let (known, is_old) = {
            let state = self.0.state.borrow();
            let keys = state.keys.as_ref();
            let known = keys.and_then(|keys| keys.find(kid, algorithm));
            let max_age = self.0.settings.max_age;
            let is_old = state.fetched.is_none_or(|at| at.elapsed() >= max_age);
            (known, is_old)
        };
        if known.is_some() && !is_old {
            return Ok(known);
        }
        let begun = self.fetch_if_due();
        // An old key is good enough while somebody else fetches.
        if known.is_some() && !begun {
            return Ok(known);
        }
        let mut state = self.0.state.subscribe();
        // An error means that there is no sender, but `self` has it.
        let _ = state.wait_for(|state| !state.is_fetching).await;
        let state = state.borrow();
        match (&state.keys, &state.failure) {
            (Some(keys), _) => Ok(keys.find(kid, algorithm)),
            (None, Some(failure)) => Err(Arc::clone(failure)),
            (None, None) => Err(Arc::new(KeysError::BrokenOff)),
        }
    }

    /// Whether this call has begun a fetch.
    fn fetch_if_due(&self) -> bool {
        let least = self.0.settings.min_interval;
        let begun = self.0.state.send_if_modified(|state| {
            let is_due = state.ended.is_none_or(|at| at.elapsed() >= least);
            let begins = is_due && !state.is_fetching;
            state.is_fetching |= begins;
            begins
        });
        if begun {
            let shared = Arc::clone(&self.0);
            let result = Err(KeysError::BrokenOff);
            tokio::spawn(Fetch { shared, result }.run());
        }
        begun
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
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}
