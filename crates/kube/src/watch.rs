//! Follows the objects of one kind, whatever happens to the API server.

use std::{pin::pin, time::Duration};

use futures::StreamExt as _;
use kube::{
    Api, Client,
    core::ApiResource,
    runtime::watcher::{self, Event, watcher},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};
use toolgate_policy::Kind;

use crate::{
    Instruments,
    backoff::Backoff,
    objects::Observed,
    raw::RawObject,
    served::{Discovery, is_not_found},
    watch::course::Course,
};

mod course;
mod pace;

/// How often the API server is asked for a kind that it does not serve; and when it says so for the
/// first time, how soon again, as it may be starting.
const LOOK_FOR_KIND: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long a connection may say nothing until another one is made: what a silent loss of the API
/// server costs.
pub(crate) const SILENCE: Duration = Duration::from_secs(75);

/// How long one watch lasts, in seconds; less than [`SILENCE`].
const WATCH_SECONDS: u32 = 60;

/// How many objects one answer of a list may hold. Each is at most some 1.5 MB, all that etcd takes.
const PAGE: u32 = 50;

/// How often everything is listed anew, though a watch should miss nothing: a cluster that was
/// restored from a copy counts its changes anew, below what a watch asks for.
const LIST_ANEW: Duration = Duration::from_mins(10);

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
    client: Client,
    discovery: Discovery,
    followed: Followed,
    changes: mpsc::Sender<(Followed, Change)>,
    course: Course,
    backoff: Backoff,
}

/// Told of nobody: whoever listened is gone, and so the watch ends.
struct Unheard;

impl Watch {
    pub(crate) fn new(
        discovery: Discovery,
        client: &Client,
        followed: Followed,
        changes: mpsc::Sender<(Followed, Change)>,
        instruments: Instruments,
    ) -> Self {
        Self {
            client: pace::paced(client),
            discovery,
            course: Course::new(&followed, instruments),
            followed,
            changes,
            // Small enough that a change after an outage is soon seen.
            backoff: Backoff::new(Duration::from_millis(250), Duration::from_secs(5)),
        }
    }

    /// Follows the objects until nobody listens.
    pub(crate) async fn run(mut self) {
        while let Ok(()) = self.step().await {}
    }

    async fn step(&mut self) -> Result<(), Unheard> {
        match self.discovery.served(self.followed.kind).await {
            Ok(Some(resource)) => {
                self.course.known();
                self.follow(&resource).await
            }
            Ok(None) => {
                let was_unknown = self.course.is_unknown();
                if self.course.is_gone(Instant::now()) {
                    self.tell(Change::Listed(Vec::new())).await?;
                }
                sleep(if was_unknown {
                    LOOK_FOR_KIND
                } else {
                    LOOK_AGAIN
                })
                .await;
                Ok(())
            }
            Err(error) => {
                self.course.failed(&error, Instant::now());
                self.backoff.wait().await;
                Ok(())
            }
        }
    }

    /// Tells of every change, until it is time to list anew, or the kind seems not to be served.
    async fn follow(&mut self, resource: &ApiResource) -> Result<(), Unheard> {
        let client = self.client.clone();
        let api: Api<RawObject> = match &self.followed.namespace {
            None => Api::all_with(client, resource),
            Some(namespace) => Api::namespaced_with(client, namespace, resource),
        };
        let config = watcher::Config::default()
            .timeout(WATCH_SECONDS)
            .page_size(PAGE);
        let mut events = pin!(watcher(api, config));
        let mut listing = Vec::new();
        let until = Instant::now() + LIST_ANEW.mul_f64(1.0 + fastrand::f64() / 4.0);
        while let Ok(Some(event)) = timeout_at(until, events.next()).await {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    self.course.failed(&error, Instant::now());
                    self.backoff.wait().await;
                    if is_unknown(&error) {
                        return Ok(());
                    }
                    continue;
                }
            };
            let change = match event {
                // Comes before each try, good or bad.
                Event::Init => {
                    listing.clear();
                    continue;
                }
                Event::InitApply(object) => {
                    listing.extend(self.observe(object));
                    continue;
                }
                Event::InitDone => {
                    self.course.listed(listing.len());
                    Some(Change::Listed(std::mem::take(&mut listing)))
                }
                Event::Apply(object) => self.observe(object).map(Change::Applied),
                Event::Delete(object) => self
                    .observe(object)
                    .map(|observed| Change::Deleted(observed.key.namespace, observed.key.name)),
            };
            self.backoff.reset();
            self.course.goes_on();
            if let Some(change) = change {
                self.tell(change).await?;
            }
        }
        Ok(())
    }

    fn observe(&self, object: RawObject) -> Option<Observed> {
        Observed::of(self.followed.kind, object)
    }

    async fn tell(&self, change: Change) -> Result<(), Unheard> {
        let told = self.changes.send((self.followed.clone(), change)).await;
        told.map_err(|_| Unheard)
    }
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
