//! Wiring, serving and drain.

mod in_process;
mod services;

use std::{future::Future, io, num::NonZeroUsize, pin::pin, sync::Arc, time::Duration};

use futures::FutureExt as _;
use prost::DecodeError;
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use toolgate_kube::ConnectError;
use toolgate_limit::SystemClock;
use toolgate_net::{Acceptor, InvalidAuthority, descriptors, read_authorities};
use toolgate_policy::{Diagnostics, Registry};
use toolgate_redis::InvalidUrl;
use toolgate_tasks::Tasks;
use toolgate_telemetry::MetricsExport;

use crate::{
    AuditError, Config, ConnectionBounds, Listen, StoreConfig, StoreState,
    audit::Audit,
    connection::{Connections, Terms},
    grpc::{CallerRules, Index, Readings, ServiceHealth},
    health::Monitor,
    http,
    observe::{Activity, Counters, Metrics, Observation, Replica},
    shares::CallerShares,
    source::Source,
    stores::Stores,
    tls::{Handshakes, Reload, Tls, TlsError},
    worker::Workers,
};

pub use in_process::InProcess;
use services::{index, services, with_standard_services};

/// The longest time that callers have to take their checks elsewhere when the limiter stops. To
/// connect anew takes far less, and who does not understand the notice keeps the limiter that long.
const LONGEST_HANDOVER: Duration = Duration::from_secs(3);

/// A limiter that has read its policies and taken its addresses.
#[derive(Debug)]
pub struct Server {
    registry: Arc<Registry>,
    stores: Stores,
    metrics: Option<Metrics>,
    export: Option<MetricsExport>,
    workers: NonZeroUsize,
    max_in_flight: usize,
    grpc: (Acceptor, Listen),
    http: (Acceptor, Listen),
    drain_timeout: Duration,
    tls: Option<(Arc<Tls>, Reload)>,
    bounds: ConnectionBounds,
    callers: Arc<CallerRules>,
    observation: Observation,
    source: Source,
    tasks: Tasks,
}

/// Why a limiter cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The policies are wrong.
    #[error("the policies are not valid:\n{0}")]
    Policies(Diagnostics),
    /// The cluster that has the policies cannot be asked.
    #[error(transparent)]
    Kubernetes(#[from] ConnectError),
    /// The policies cannot be watched.
    #[error("cannot watch the policies for changes")]
    Watch(#[source] io::Error),
    /// The store's URL is wrong.
    #[error(transparent)]
    Store(#[from] InvalidUrl),
    /// An address cannot be taken.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: Listen,
        /// Why.
        source: io::Error,
    },
    /// The descriptors of the API cannot be served.
    #[error("cannot serve reflection")]
    Reflection(#[from] DecodeError),
    /// The audit stream cannot be had.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The certificates are wrong.
    #[error("TLS cannot be served")]
    Tls(#[from] TlsError),
    /// A file of authorities holds none.
    #[error(transparent)]
    Authority(#[from] InvalidAuthority),
    /// A thread to serve on cannot be had.
    #[error("cannot start a worker")]
    Thread(#[source] io::Error),
    /// What keeps the policies up to date has panicked.
    #[error("the source of the policies has panicked")]
    Source,
    /// A thread that serves has panicked.
    #[error("a worker has panicked")]
    Worker,
}

impl Server {
    /// Reads the policies and certificates, opens the store and takes the addresses. Redis need not
    /// be there, nor the API server of a cluster that has the policies.
    pub async fn bind(config: &Config) -> Result<Self, ServerError> {
        let registry = Arc::new(Registry::new(Arc::new(SystemClock::new())));
        let mut metrics = config.metrics.then(|| Metrics::new(Arc::clone(&registry)));
        let tasks = Tasks::default();
        let source = Source::open(config, &registry, metrics.as_mut(), &tasks).await?;
        let counters = metrics.as_ref().map(Metrics::counters).cloned();
        let observation = observation(config, &registry, counters, &tasks)?;
        descriptors::compare(open_files(config), "connections.max");
        if let StoreConfig::Redis(redis) = &config.store
            && let Some(ca) = &redis.tls.ca
        {
            read_authorities("redis.tls.caFile", ca)?;
        }
        Ok(Self {
            stores: Stores::open(config, metrics.as_mut(), &tasks)?,
            registry,
            metrics,
            export: None,
            workers: config.workers,
            max_in_flight: config.max_in_flight.get(),
            grpc: bind(&config.grpc_listen).await?,
            http: bind(&config.http_listen).await?,
            drain_timeout: config.drain_timeout,
            tls: config.grpc_tls.as_ref().map(Reload::open).transpose()?,
            bounds: config.connections,
            callers: Arc::new(caller_rules(config)),
            observation,
            source,
            tasks,
        })
    }

    /// The address of the gRPC API.
    pub fn grpc_address(&self) -> &Listen {
        &self.grpc.1
    }

    /// The address of `/livez`, `/readyz` and `/metrics`.
    pub fn http_address(&self) -> &Listen {
        &self.http.1
    }

    /// Whether the store decides.
    pub fn store_state(&self) -> StoreState {
        StoreState::of(Arc::clone(self.stores.breaker()))
    }

    /// The policies in force.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Sends what `/metrics` shows to a collector too, as long as it serves. Without metrics there is
    /// nothing to send.
    pub fn export_metrics(&mut self, export: MetricsExport) {
        self.export = Some(export);
    }

    /// Serves until `stop` is done. Then, in this order: health turns to not serving, no more
    /// calls are taken, and those in flight are answered, within the drain timeout. Those that are not
    /// answered by then are ended, before the cluster is taken leave of and the audit stream is written.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), ServerError> {
        let stopping = CancellationToken::new();
        let closing = CancellationToken::new();

        let wiring = self.wiring(closing.clone())?;
        let health = wiring.health.clone();
        let (monitor, readiness) = Monitor::new(
            self.stores.clone(),
            self.registry.subscribe(),
            health.clone(),
            stopping.clone(),
        );
        let monitor = (self.tasks).spawn("monitor", monitor, |monitor| monitor.run().boxed());
        // Goes on while the calls in flight are answered.
        let mut source = self.source.start(&self.registry);
        let handshakes = self.tls.as_ref().map(|(tls, _)| {
            let timeout = self.bounds.handshake_timeout;
            Handshakes::start(tls, self.workers, timeout, &closing, &self.tasks)
        });
        let handshakes = handshakes.transpose().map_err(ServerError::Thread)?;
        let reloading = self.tls.map(|(_, reload)| {
            let reloading =
                (self.tasks).spawn("certificates", reload, |reload| reload.run().boxed());
            AbortOnDropHandle::new(reloading)
        });
        let build = {
            let wiring = wiring.clone();
            move || Ok(wiring.connections())
        };
        let shares = Arc::clone(&wiring.terms.shares);
        let max = self.bounds.max;
        let workers = Workers::start(self.workers, max, shares, handshakes, build, &closing)?;
        let replica = Replica {
            policies: self.registry,
            breaker: Arc::clone(self.stores.breaker()),
            decides_alone: self.stores.local().is_some(),
            shares: Arc::clone(&wiring.terms.shares),
            connections: workers.connections(),
            tasks: self.tasks.clone(),
        };
        let exposed = self.metrics.map(|metrics| metrics.expose(replica));
        if let (Some(export), Some(exposed)) = (self.export, &exposed) {
            export.start(exposed.clone(), &self.tasks);
        }
        let is_loopback = is_loopback(&self.http.1);
        let router = http::router(is_loopback, readiness, self.tasks.clone(), exposed);
        let http = http::serve(&self.tasks, self.http.0, router);
        let outcome = {
            // Its end is that of the workers, and of the calls that are in flight still.
            let mut grpc = pin!(workers.serve(self.grpc.0, closing.clone()));
            tokio::select! {
                failed = &mut grpc => failed,
                () = source.ended() => Err(ServerError::Source),
                () = stop => {
                    tracing::info!("stopping: calls in flight are finished, no more are taken");
                    stopping.cancel();
                    // Callers learn from health that they should go elsewhere, and then from the
                    // connection that they must.
                    let _ = monitor.await;
                    health.end_watches();
                    closing.cancel();
                    timeout(self.drain_timeout, grpc).await.unwrap_or_else(|_| {
                        tracing::warn!(after = ?self.drain_timeout, "stopped with calls in flight");
                        Ok(())
                    })
                }
            }
        };
        source.leave().await;
        if let Some(audit) = &self.observation.audit {
            audit.flush().await;
        }
        http.abort();
        drop(reloading);
        outcome
    }

    /// What the workers have in common. Connections are told to leave at `closing`.
    fn wiring(&self, closing: CancellationToken) -> Result<Wiring, ServerError> {
        Ok(Wiring {
            registry: Arc::clone(&self.registry),
            stores: self.stores.clone(),
            observation: self.observation.clone(),
            readings: Readings::default(),
            health: ServiceHealth::new(),
            index: Arc::new(index()?),
            terms: Terms {
                bounds: self.bounds,
                callers: Arc::clone(&self.callers),
                shares: CallerShares::new(self.bounds, self.max_in_flight),
                closing,
                handover: LONGEST_HANDOVER.min(self.drain_timeout / 2),
            },
        })
    }
}

/// What the workers have in common.
#[derive(Clone, Debug)]
struct Wiring {
    registry: Arc<Registry>,
    stores: Stores,
    observation: Observation,
    readings: Readings,
    health: ServiceHealth,
    index: Arc<Index>,
    terms: Terms,
}

impl Wiring {
    /// What serves the connections of one worker, on the current runtime.
    fn connections(&self) -> Connections {
        let observers = self.observation.of_worker();
        let errors = observers.errors.clone();
        let activity = (self.observation.activity.clone(), self.readings.clone());
        let routes = services(
            &self.registry,
            &self.stores,
            self.terms.shares.all().checks.clone(),
            activity,
            observers,
        );
        Connections {
            routes: with_standard_services(routes, self.health.clone(), &self.index).prepare(),
            terms: self.terms.clone(),
            errors,
        }
    }
}

/// The files that all connections of a limiter take.
fn open_files(config: &Config) -> usize {
    // Of a cluster each worker has a connection to each node, and of most there are few.
    let to_store = match config.store {
        StoreConfig::Memory { .. } => 0,
        StoreConfig::Redis(_) => 16 * (config.workers.get() + 1),
    };
    // Each worker's runtime has some of its own.
    let of_workers = 8 * config.workers.get();
    let from_callers = config.connections.max.saturating_add(http::MOST);
    from_callers.saturating_add(to_store + of_workers)
}

async fn bind(address: &Listen) -> Result<(Acceptor, Listen), ServerError> {
    address.bind().await.map_err(|source| ServerError::Bind {
        address: address.clone(),
        source,
    })
}

fn observation(
    config: &Config,
    registry: &Arc<Registry>,
    counters: Option<Counters>,
    tasks: &Tasks,
) -> Result<Observation, AuditError> {
    let clock = || Arc::new(SystemClock::new());
    let audit = config
        .audit
        .as_ref()
        .map(|audit| Audit::open(audit, clock(), tasks));
    let policies = Arc::clone(registry) as _;
    Ok(Observation {
        activity: Activity::new(policies, counters.clone(), clock()),
        audit: audit.transpose()?,
        counters,
    })
}

fn is_loopback(listen: &Listen) -> bool {
    matches!(listen, Listen::Tcp(address) if address.ip().to_canonical().is_loopback())
}

/// Whoever reaches a Unix socket or a loopback address is on this machine, and might as well reach
/// the store.
fn caller_rules(config: &Config) -> CallerRules {
    let is_local =
        is_loopback(&config.grpc_listen) || matches!(config.grpc_listen, Listen::Unix(_));
    CallerRules {
        callers: config.callers.clone(),
        open_admin: is_local || config.insecure_admin,
    }
}
