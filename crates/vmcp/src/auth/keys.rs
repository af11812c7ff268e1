//! The keys of an issuer: fetched when first needed, kept, and fetched again when they are old or
//! when a token names one that is not among them.
//!
//! A token can name any key, so a fetch for an unknown one is limited in rate: whoever sends
//! nonsense cannot make this server hammer the issuer.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use serde::Deserialize;
use tokio::{
    sync::{Mutex, MutexGuard},
    time::Instant,
};
use tracing::warn;

/// Where keys come from, and how long they are kept.
#[derive(Clone, Debug)]
pub struct KeysSettings {
    /// The issuer, whose discovery document names the place of its keys.
    pub issuer: String,
    /// The place of its keys, where it has no discovery document.
    pub jwks_url: Option<String>,
    /// How long keys are used before they are fetched again. When that fails they are kept.
    pub max_age: Duration,
    /// The least time between two fetches.
    pub min_interval: Duration,
    /// The deadline of a fetch.
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
    /// There is no HTTP client to fetch them with.
    #[error("cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
    /// A document could not be fetched.
    #[error("cannot fetch {url}")]
    Fetch {
        /// The document.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The discovery document speaks for another issuer.
    #[error("{url} is of the issuer {found:?}")]
    OtherIssuer {
        /// The document.
        url: String,
        /// The issuer it names.
        found: String,
    },
    /// They could not be fetched a moment ago, and it is too early to try again.
    #[error("the keys could not be fetched a moment ago")]
    Pending,
}

#[derive(Debug)]
pub(super) struct Keys {
    settings: KeysSettings,
    client: reqwest::Client,
    cached: ArcSwapOption<Cached>,
    /// When the last fetch began. Held while one is on its way.
    last_fetch: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Cached {
    set: JwkSet,
    fetched: Instant,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Keys {
    pub(super) fn new(settings: KeysSettings) -> Result<Self, KeysError> {
        crate::tls::use_ring();
        let client = reqwest::Client::builder()
            .timeout(settings.timeout)
            .build()
            .map_err(KeysError::Client)?;
        Ok(Self {
            settings,
            client,
            cached: ArcSwapOption::empty(),
            last_fetch: Mutex::new(None),
        })
    }

    /// The key `kid`, or, for a token that names none, the only key. None if there is no such key.
    pub(super) async fn find(&self, kid: Option<&str>) -> Result<Option<Jwk>, KeysError> {
        let known = self.cached.load_full();
        let key = known.as_ref().and_then(|known| known.key(kid));
        let is_old = known.is_none_or(|known| known.fetched.elapsed() >= self.settings.max_age);
        match key {
            Some(key) if !is_old => Ok(Some(key)),
            // Old keys are good enough while somebody else fetches, or if that fails.
            Some(key) => {
                if let Ok(last_fetch) = self.last_fetch.try_lock()
                    && let Err(error) = self.fetch_if_due(last_fetch).await
                {
                    warn!(%error, "the keys of the issuer are old");
                    return Ok(Some(key));
                }
                Ok(self.cached().and_then(|keys| keys.key(kid)))
            }
            None => {
                let fetched = self.fetch_if_due(self.last_fetch.lock().await).await;
                match (fetched, self.cached()) {
                    (Err(error), None) => Err(error),
                    (Err(error), Some(keys)) => {
                        warn!(%error, "the keys of the issuer are old");
                        Ok(keys.key(kid))
                    }
                    (Ok(()), Some(keys)) => Ok(keys.key(kid)),
                    (Ok(()), None) => Err(KeysError::Pending),
                }
            }
        }
    }

    fn cached(&self) -> Option<Arc<Cached>> {
        self.cached.load_full()
    }

    async fn fetch_if_due(
        &self,
        mut last_fetch: MutexGuard<'_, Option<Instant>>,
    ) -> Result<(), KeysError> {
        if last_fetch.is_some_and(|last| last.elapsed() < self.settings.min_interval) {
            return Ok(());
        }
        *last_fetch = Some(Instant::now());
        let set = self.fetch().await?;
        let fetched = Instant::now();
        self.cached.store(Some(Arc::new(Cached { set, fetched })));
        Ok(())
    }

    async fn fetch(&self) -> Result<JwkSet, KeysError> {
        if let Some(url) = &self.settings.jwks_url {
            return self.get(url).await;
        }
        // OpenID Connect Discovery 1.0, section 4: a trailing slash of the issuer goes.
        let base = self.settings.issuer.trim_end_matches('/');
        let url = format!("{base}/.well-known/openid-configuration");
        let discovery: Discovery = self.get(&url).await?;
        if discovery.issuer != self.settings.issuer {
            let found = discovery.issuer;
            return Err(KeysError::OtherIssuer { url, found });
        }
        self.get(&discovery.jwks_uri).await
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, url: &str) -> Result<T, KeysError> {
        let got = async {
            let response = self.client.get(url).send().await?;
            response.error_for_status()?.json().await
        };
        got.await.map_err(|source| KeysError::Fetch {
            url: url.to_owned(),
            source,
        })
    }
}

impl Cached {
    fn key(&self, kid: Option<&str>) -> Option<Jwk> {
        match (kid, self.set.keys.as_slice()) {
            (Some(kid), _) => self.set.find(kid).cloned(),
            (None, [only]) => Some(only.clone()),
            (None, _) => None,
        }
    }
}
