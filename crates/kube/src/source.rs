//! Keeps the registry up to date with a cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt as _, join};
use kube::Client;
use serde_json::Value;
use tokio::{
    select,
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use toolgate_limit::{ServerId, SystemClock};
use toolgate_policy::{Kind, Registry};
use toolgate_tasks::Tasks;

use crate::{
    Config, Instruments,
    objects::{ObjectKey, Objects, Revision},
    resolve::{Resolution, Verdict, resolve},
    served::Discovery,
    status::Reporter,
    watch::{Change, Followed, SILENCE, Watch, chain},
};

/// How long changes gather before they come into force together: a `kubectl apply` of a folder then
/// makes few generations.
const GATHER: Duration = Duration::from_millis(50);

/// The most changes that wait to be taken over; a watch that has more waits too.
const CHANGES: usize = 256;

/// Puts the policies of a cluster into force.
pub struct KubernetesSource {
    client: Client,
    config: Config,
    namespace: String,
    instruments: Instruments,
    tasks: Tasks,
}

/// The cluster's API cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("no access to Kubernetes' API: {0}")]
pub struct ConnectError(String);

/// What came of all objects, for those who tell people of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// Of each namespace that is watched (none: all at once), up to which resource version of
    /// `RateLimitPolicy` this replica has put everything into force.
    pub(crate) newest: BTreeMap<Option<String>, String>,
    /// The objects that limit, or want to.
    pub(crate) objects: Vec<Judged>,
}

/// An object and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) key: ObjectKey,
    pub(crate) revision: Revision,
    /// The server that it limits, as far as it says that rightly.
    pub(crate) server: Option<ServerId>,
    /// As the API server has it. Of a `RateLimitPolicy` alone.
    pub(crate) status: Option<Arc<Value>>,
    pub(crate) verdict: Verdict,
}

impl KubernetesSource {
    /// The source in the cluster that this pod runs in, or, outside, in that of the kubeconfig. Asks
    /// nobody yet.
    pub async fn connect(config: Config) -> Result<Self, ConnectError> {
        let cluster = kube::Config::infer().await;
        let mut cluster = cluster.map_err(|error| ConnectError(chain(&error)))?;
        cluster.connect_timeout = Some(Duration::from_secs(5));
        cluster.read_timeout = Some(SILENCE);
        cluster.write_timeout = Some(SILENCE);
        let namespace = cluster.default_namespace.clone();
        let client = Client::try_from(cluster).map_err(|error| ConnectError(chain(&error)))?;
        Ok(Self {
            client,
            config,
            namespace,
            instruments: Instruments::default(),
            tasks: Tasks::default(),
        })
    }

    /// The same source, which shows itself by `instruments`.
    #[must_use]
    pub fn observed_by(self, instruments: Instruments) -> Self {
        Self {
            instruments,
            ..self
        }
    }

    /// The same source. What tells people of policies is one of `tasks`.
    #[must_use]
    pub fn among(self, tasks: Tasks) -> Self {
        Self { tasks, ..self }
    }

    /// Keeps `registry` up to date until `stop`, or until something in here has panicked. The first
    /// generation comes once every object is listed; from then on each change comes into force by
    /// itself.
    pub async fn run(self, registry: Arc<Registry>, stop: CancellationToken) {
        let (tell, changes) = mpsc::channel(CHANGES);
        let mut watches = JoinSet::new();
        let discovery = Discovery::new(self.client.clone());
        let followed = self.followed();
        let expected = followed.len();
        for followed in followed {
            let (discovery, client) = (discovery.clone(), &self.client);
            let instruments = self.instruments.clone();
            let watch = Watch::new(discovery, client, followed, tell.clone(), instruments);
            watches.spawn(watch.run());
        }
        drop(tell);
        let (seen, views) = watch::channel(None);
        let reporting = async {
            if self.config.status {
                let clock = Arc::new(SystemClock::new());
                let (client, namespace) = (&self.client, &self.namespace);
                let reporter = Reporter::new(client, &self.config, namespace, views, clock);
                let state = (reporter, stop.clone());
                let tasks = self.tasks.clone();
                let kept = tasks.keep("kubernetes_status", state, |(reporter, stop)| {
                    reporter.run(stop.clone()).boxed()
                });
                Box::pin(kept).await;
            }
        };
        let publisher = Publisher {
            registry,
            expected,
            objects: Objects::default(),
            in_force: None,
            seen: self.config.status.then_some(seen),
            instruments: self.instruments.clone(),
        };
        let keeping_up = async {
            select! {
                () = publisher.run(changes) => {}
                // None ends by itself. Without it limits would grow old unnoticed.
                _ = watches.join_next() => tracing::error!("a watch of the cluster has ended"),
            }
            stop.cancel();
        };
        join!(stop.run_until_cancelled(keeping_up), reporting);
    }

    fn followed(&self) -> Vec<Followed> {
        let namespaces = self.config.namespaces.to_watch();
        let of_kind = |kind| {
            let namespaces = namespaces.iter().cloned();
            namespaces.map(move |namespace| Followed { kind, namespace })
        };
        Kind::ALL.into_iter().flat_map(of_kind).collect()
    }
}

/// Takes changes over and publishes what comes of them.
struct Publisher {
    registry: Arc<Registry>,
    /// How many watches must have told what there is before anything is published: without one of
    /// them limits would be missing.
    expected: usize,
    objects: Objects,
    in_force: Option<Resolution>,
    /// None: nobody tells of it.
    seen: Option<watch::Sender<Option<Arc<View>>>>,
    instruments: Instruments,
}

impl Publisher {
    async fn run(mut self, mut changes: mpsc::Receiver<(Followed, Change)>) {
        while let Some((followed, change)) = changes.recv().await {
            let mut news = self.objects.apply(followed, change);
            let until = Instant::now() + GATHER;
            while let Ok(Some((followed, change))) = timeout_at(until, changes.recv()).await {
                news |= self.objects.apply(followed, change);
            }
            if self.objects.listed() < self.expected {
                continue;
            }
            // What was gathered before everything was listed counts as well.
            if news || self.in_force.is_none() {
                self.publish();
            }
            if let (Some(seen), Some(resolution)) = (&self.seen, &self.in_force) {
                seen.send_replace(Some(Arc::new(self.view(resolution))));
            }
        }
    }

    fn publish(&mut self) {
        let resolution = resolve(&self.objects);
        let known = self.in_force.as_ref();
        if !known.is_some_and(|known| known.is_same(&resolution)) {
            self.tell_of_news(&resolution);
            self.instruments.resolved(&resolution);
            let policies = resolution.policies.clone();
            let count = policies.len();
            let rejected = resolution.rejected.clone();
            let generation = self.registry.publish_beside(policies, rejected);
            tracing::info!(generation, policies = count, "policies are in force");
        }
        self.in_force = Some(resolution);
    }

    /// Logs what is wrong and was not before.
    fn tell_of_news(&self, resolution: &Resolution) {
        let known = self.in_force.iter();
        let known: BTreeSet<_> = known.flat_map(|known| known.rejected.errors()).collect();
        for diagnostic in resolution.rejected.errors() {
            if !known.contains(diagnostic) {
                tracing::error!("not in force as it is written: {diagnostic}");
            }
        }
    }

    fn view(&self, resolution: &Resolution) -> View {
        let judged = |(key, verdict): (&ObjectKey, &Verdict)| {
            let object = self.objects.get(key)?;
            Some(Judged {
                key: key.clone(),
                revision: object.revision.clone(),
                server: object.server.clone(),
                status: object.status.clone(),
                verdict: verdict.clone(),
            })
        };
        View {
            newest: self.objects.newest_policies(),
            objects: resolution.verdicts.iter().filter_map(judged).collect(),
        }
    }
}

impl std::fmt::Debug for KubernetesSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubernetesSource")
            .field("config", &self.config)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
