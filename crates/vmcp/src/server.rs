//! The one place where all parts meet.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch, time::timeout};
use toolgate_client::{Client, OnUnavailable};
use toolgate_limit::{Limiter, NameError, ServerId};
use toolgate_policy::Watch;
use toolgate_telemetry::Registry;
use tracing::{info, warn};

use crate::{
    EmbeddedError, Gate, Optimizer, Vmcp,
    auth::{Anonymous, Authenticator, Oidc, OidcError},
    config::{BackendError, Config, IncomingAuth, LimiterConfig},
    core::Core,
    embedded,
    gate::Replicas,
    rate_limited,
    serve::{Edge, router},
};

/// How long `/readyz` waits for backends that are slow to connect.
const READY_WITHIN: Duration = Duration::from_secs(5);

/// How long requests have to finish when the server stops.
const DRAIN_WITHIN: Duration = Duration::from_secs(30);

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The name or the namespace is none.
    #[error("namespace and name: {0}")]
    Name(#[from] NameError),
    /// A backend that cannot be.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// Inline limits that cannot be.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// An embedded limiter without limits.
    #[error("limiter: embedded needs rateLimiting")]
    NoLimits,
    /// A field that goes with another.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A limiter that cannot be.
    #[error("limiter: {0}")]
    Limiter(#[from] toolgate_client::ConfigError),
    /// An issuer that cannot be asked.
    #[error("incomingAuth.oidc")]
    Oidc(#[from] OidcError),
    /// The address is taken, or is none of this machine's.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address as configured.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A virtual MCP server that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    router: axum::Router,
    ready: watch::Sender<bool>,
    settled: watch::Receiver<bool>,
    /// Keeps inline limits up to date.
    _limits: Option<Watch>,
}

impl Server {
    /// Builds what `config` says, starts to connect to backends and limiter, and listens.
    pub async fn bind(mut config: Config) -> Result<Self, StartError> {
        let server = config.server()?;
        crate::tls::use_ring();
        let mut registry = toolgate_telemetry::registry("vmcp", env!("CARGO_PKG_VERSION"));
        let (gate, watch) = gate(&mut config, server, &mut registry)?;
        let authenticator = authenticator(&config.incoming_auth)?;
        let core = core(&config)?;
        core.register(&mut registry);
        let settled = core.settled();
        let mut vmcp = rate_limited(core, gate);
        if let Some(optimizer) = config.optimizer.filter(|optimizer| optimizer.enabled) {
            let most = optimizer.max_tools_to_return;
            vmcp = Arc::new(Optimizer::new(vmcp, most)) as Arc<dyn Vmcp>;
        }
        let (ready, is_ready) = watch::channel(false);
        let address = config.listen;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| StartError::Listen { address, source })?;
        let edge = Edge {
            allowed_hosts: config.allowed_hosts.or_else(|| hosts_of(address)),
            name: config.name,
            vmcp,
            authenticator,
            rejection: config.rejection,
            ready: is_ready,
            registry,
        };
        Ok(Self {
            listener,
            router: router(edge),
            ready,
            settled,
            _limits: watch,
        })
    }

    /// Where it listens; of port 0 the one that was given.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` is there, and then until requests have finished, within bounds.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let (stopping, mut stopped) = watch::channel(false);
        let ready = self.ready;
        let mut settled = self.settled;
        let lifecycle = tokio::spawn(async move {
            let until_ready = async {
                // Backends that are slow are missed in lists, but serve nobody worse than that.
                let _ = timeout(READY_WITHIN, settled.wait_for(|settled| *settled)).await;
                ready.send_replace(true);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = until_ready => {}
                () = stop => {}
            }
            ready.send_replace(false);
            info!("draining");
            stopping.send_replace(true);
            // Keeps the channel open: requests still ask whether this server is ready.
            ready.closed().await;
        });
        let mut drain = stopped.clone();
        let serve = axum::serve(self.listener, self.router).with_graceful_shutdown(async move {
            let _ = stopped.wait_for(|stopping| *stopping).await;
        });
        let too_long = async {
            let _ = drain.wait_for(|stopping| *stopping).await;
            tokio::time::sleep(DRAIN_WITHIN).await;
        };
        let served = tokio::select! {
            served = serve => served,
            () = too_long => {
                warn!(within = ?DRAIN_WITHIN, "requests did not finish");
                Ok(())
            }
        };
        lifecycle.abort();
        served
    }
}

fn core(config: &Config) -> Result<Core, StartError> {
    let mut backends = Vec::with_capacity(config.backends.len());
    for (place, backend) in config.backends.iter().enumerate() {
        if config.backends[..place]
            .iter()
            .any(|b| b.name == backend.name)
        {
            return Err(BackendError::Duplicate(backend.name.clone()).into());
        }
        backends.push(backend.settings()?);
    }
    Ok(Core::start(backends))
}

fn authenticator(auth: &IncomingAuth) -> Result<Arc<dyn Authenticator>, StartError> {
    Ok(match auth {
        IncomingAuth::Anonymous => Arc::new(Anonymous::new()),
        IncomingAuth::Oidc { oidc } => Arc::new(Oidc::new(oidc.settings())?),
    })
}

/// The gate, and the watch of its limits if they are inline.
fn gate(
    config: &mut Config,
    server: ServerId,
    registry: &mut Registry,
) -> Result<(Option<Gate>, Option<Watch>), StartError> {
    if let Some(warning) = config.warning() {
        warn!("{warning}");
    }
    let mut watch = None;
    let (limiter, on_unavailable): (Arc<dyn Limiter>, _) =
        match (&config.limiter, config.rate_limiting.take()) {
            (Some(LimiterConfig::Remote(remote)), _) => {
                let settings = remote.client_config().map_err(StartError::Missing)?;
                let client = Client::new(settings)?;
                registry.register_collector(Box::new(Replicas(client.clone())));
                (Arc::new(client), remote.on_unavailable.into())
            }
            // What limits the file has must not be lost because it does not say who enforces them.
            (Some(LimiterConfig::Embedded) | None, Some(limits)) => {
                info!("limits are those of this process alone; replicas do not share them");
                let (limiter, kept) = embedded::start(limits, server.clone(), registry)?;
                watch = kept;
                (Arc::new(limiter), OnUnavailable::Allow)
            }
            (Some(LimiterConfig::Embedded), None) => return Err(StartError::NoLimits),
            (None, None) => return Ok((None, None)),
        };
    let gate = Gate::new(server, limiter, on_unavailable);
    gate.register(registry);
    Ok((Some(gate), watch))
}

/// The hosts that a server on `address` is called by, if they are known: against DNS rebinding,
/// which aims at servers that only this machine can reach.
fn hosts_of(address: SocketAddr) -> Option<Vec<String>> {
    let names = ["localhost", "127.0.0.1", "::1"];
    let is_local = address.ip().is_loopback();
    is_local.then(|| names.map(str::to_owned).to_vec())
}
