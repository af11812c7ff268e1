//! Follows the objects of one kind, whatever happens to the API server.

use std::{pin::pin, time::Duration};

use backon::ExponentialBuilder;
use futures::StreamExt as _;
use kube::{
    Api, Client,
    core::{ApiResource, DynamicObject},
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, ExponentialBackoff, watcher},
    },
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use toolgate_policy::Kind;

use crate::{
    Instruments,
    objects::Observed,
    served::{is_not_found, served},
};

/// The longest that the API server may take to say which kinds it serves.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is asked for a kind that it does not serve.
const LOOK_FOR_KIND: Duration = Duration::from_secs(5);

/// How long a kind that was served must be gone until its objects are taken for deleted. An API
/// server that is starting may not know it for a moment.
const KIND_IS_GONE: Duration = Duration::from_mins(1);

/// How long a connection may say nothing until another one is made: what a silent loss of the API
/// server costs.
pub(crate) const SILENCE: Duration = Duration::from_secs(75);

/// How long one watch lasts, in seconds; less than [`SILENCE`].
const WATCH_SECONDS: u32 = 60;

/// Which objects a watch follows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Followed {
    pub(crate) kind: Kind,
    /// None: in all namespaces.
    pub(crate) namespace: Option<String>,
}

/// What a watch has seen.
#[derive(Debug)]
pub(crate) enum Change {
    /// These are all the objects that there are.
    Listed(Vec<Observed>),
    Applied(Observed),
    /// In this namespace, of this name.
    Deleted(String, String),
}

/// One watch.
pub(crate) struct Watch {
    pub(crate) client: Client,
    pub(crate) followed: Followed,
    pub(crate) changes: mpsc::Sender<(Followed, Change)>,
    pub(crate) instruments: Instruments,
}

/// Told of nobody: whoever listened is gone, and so the watch ends.
struct Unheard;

impl Watch {
    /// Follows the objects until nobody listens.
    pub(crate) async fn run(self) {
        let mut course = Course::new(&self.followed, self.instruments.clone());
        loop {
            let ended = match self.look(&mut course).await {
                Ok(Some(resource)) => self.follow(&resource, &mut course).await,
                Ok(None) => {
                    sleep(LOOK_FOR_KIND).await;
                    Ok(())
                }
                Err(unheard) => Err(unheard),
            };
            if let Err(Unheard) = ended {
                return;
            }
        }
    }

    /// Asks how the kind is served. One that never was has no objects; one that no longer is has
    /// none after a while.
    async fn look(&self, course: &mut Course) -> Result<Option<ApiResource>, Unheard> {
        let answer = timeout(DISCOVERY_TIMEOUT, served(&self.client, self.followed.kind)).await;
        match answer {
            Ok(Ok(Some(resource))) => return Ok(Some(resource)),
            Ok(Ok(None)) => {
                if course.is_gone(Instant::now()) {
                    self.tell(Change::Listed(Vec::new())).await?;
                }
            }
            Ok(Err(error)) => course.failed(&error, Instant::now()),
            Err(error) => course.failed(&error, Instant::now()),
        }
        Ok(None)
    }

    /// Tells of every change until the kind is served no more.
    async fn follow(&self, resource: &ApiResource, course: &mut Course) -> Result<(), Unheard> {
        let client = self.client.clone();
        let api: Api<DynamicObject> = match &self.followed.namespace {
            None => Api::all_with(client, resource),
            Some(namespace) => Api::namespaced_with(client, namespace, resource),
        };
        let config = watcher::Config::default().timeout(WATCH_SECONDS);
        let mut events = pin!(watcher(api, config).backoff(backoff()));
        let mut listing = Vec::new();
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    course.failed(&error, Instant::now());
                    if is_unknown(&error) {
                        return Ok(());
                    }
                    continue;
                }
            };
            match event {
                Event::Init => listing.clear(),
                Event::InitApply(object) => listing.extend(self.observe(object)),
                Event::InitDone => {
                    course.listed(listing.len());
                    self.tell(Change::Listed(std::mem::take(&mut listing)))
                        .await?;
                }
                Event::Apply(object) => {
                    if let Some(observed) = self.observe(object) {
                        self.tell(Change::Applied(observed)).await?;
                    }
                }
                Event::Delete(object) => {
                    if let Some(observed) = self.observe(object) {
                        let (namespace, name) = (observed.key.namespace, observed.key.name);
                        self.tell(Change::Deleted(namespace, name)).await?;
                    }
                }
            }
        }
        Ok(())
    }

    fn observe(&self, object: DynamicObject) -> Option<Observed> {
        Observed::of(self.followed.kind, object)
    }

    async fn tell(&self, change: Change) -> Result<(), Unheard> {
        let told = self.changes.send((self.followed.clone(), change)).await;
        told.map_err(|_| Unheard)
    }
}

/// Between two tries: 0.2 s, doubling to 5 s, with jitter, so that replicas spread and a change after
/// an outage is still seen soon.
fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(5))
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .into()
}

/// Whether the API server knows the kind no more.
fn is_unknown(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => {
            is_not_found(error)
        }
        _ => false,
    }
}

/// Failures further apart than this are news each: between two tries there is less, and a watch that
/// goes on after a failure says nothing as long as nothing changes.
const FAILURES_ARE_ONE: Duration = Duration::from_secs(30);

/// How a watch has fared, told to the log once for each change.
struct Course {
    kind: &'static str,
    namespace: String,
    /// Whether its objects are known, if only as none.
    was_listed: bool,
    /// Since when the API server does not know the kind.
    unknown_since: Option<Instant>,
    failed_at: Option<Instant>,
    instruments: Instruments,
}

impl Course {
    fn new(followed: &Followed, instruments: Instruments) -> Self {
        Self {
            kind: followed.kind.as_str(),
            namespace: followed.namespace.clone().unwrap_or_else(|| "*".to_owned()),
            was_listed: false,
            unknown_since: None,
            failed_at: None,
            instruments,
        }
    }

    fn listed(&mut self, objects: usize) {
        let Self {
            kind, namespace, ..
        } = self;
        if !self.was_listed || self.failed_at.is_some() || self.unknown_since.is_some() {
            tracing::info!(kind, namespace, objects, "the cluster's objects are listed");
        }
        (self.was_listed, self.unknown_since, self.failed_at) = (true, None, None);
    }

    fn failed(&mut self, error: &(dyn std::error::Error + 'static), now: Instant) {
        self.instruments.failed(self.kind);
        let before = self.failed_at.replace(now);
        let (kind, namespace, reason) = (self.kind, &self.namespace, chain(error));
        if before.is_some_and(|before| now.duration_since(before) < FAILURES_ARE_ONE) {
            tracing::debug!(
                kind,
                namespace,
                reason,
                "the cluster's objects cannot be watched"
            );
        } else {
            tracing::warn!(
                kind,
                namespace,
                reason,
                "the cluster's objects cannot be watched; what is in force stays in force"
            );
        }
    }

    /// The API server says that it does not know the kind. Whether there are therefore no objects,
    /// which is said once.
    fn is_gone(&mut self, now: Instant) -> bool {
        let Self {
            kind, namespace, ..
        } = self;
        let first = self.unknown_since.is_none();
        let since = *self.unknown_since.get_or_insert(now);
        if self.was_listed {
            let is_over = now.duration_since(since) >= KIND_IS_GONE;
            if first {
                tracing::warn!(kind, "the cluster does not serve this kind any more");
            } else if is_over {
                tracing::warn!(kind, "the kind is gone, and its limits with it");
                self.was_listed = false;
            }
            return is_over;
        }
        if !first {
            return false;
        }
        // Without our own kind there is no telling an empty cluster from a broken installation.
        let is_optional = *kind != Kind::RateLimitPolicy.as_str();
        if is_optional {
            tracing::info!(kind, namespace, "the cluster does not serve this kind yet");
        } else {
            tracing::error!(
                kind,
                "the cluster does not serve this kind: apply what `toolgate crd` prints"
            );
        }
        is_optional
    }
}

/// An error with all its sources.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let said = error.to_string();
        // Some errors repeat their source.
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
