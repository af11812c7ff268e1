//! The one place where all parts meet.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    sync::watch,
    time::{sleep, timeout},
};
use toolgate_client::{Client, OnUnavailable};
use toolgate_limit::{Limiter, NameError, ServerId};
use toolgate_net::{
    Acceptor, InvalidAuthority, descriptors,
    http::{self, Bounds, begins},
    read_authorities,
};
use toolgate_policy::Watch;
use toolgate_telemetry::{Metrics, Registry};
use tracing::{info, warn};

use crate::{
    EmbeddedError, Gate, Optimizer, Vmcp,
    auth::{Anonymous, Authenticator, Oidc, OidcError},
    config::{BackendError, Config, IncomingAuth, LimiterConfig},
    core::{BackendSettings, Core},
    embedded,
    gate::Remote,
    rate_limited,
    serve::{AllowedHost, Edge, Routers, routers},
};

/// How long `/readyz` waits for backends that are slow to connect.
const READY_WITHIN: Duration = Duration::from_secs(5);

/// How long requests have to finish when the server stops, where nothing is configured. Kubernetes
/// kills after 30 s, of which a `preStop` hook may take some.
const DRAIN_WITHIN: Duration = Duration::from_secs(20);

/// The most connections to an address that serves no MCP: probes and scrapes.
const MOST_OF_ADMIN: usize = 64;

/// Connections to MCP's address beyond the most, for probes alone, while all others are being answered.
const SPARE: usize = 16;

/// The most connections where nothing is configured.
const MOST: usize = 1_024;

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
    /// A file of authorities that holds none.
    #[error(transparent)]
    Authority(#[from] InvalidAuthority),
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
    routers: Routers,
    /// Where metrics and probes are served, if not beside MCP.
    admin: Option<TcpListener>,
    bounds: Bounds,
    drain_within: Duration,
    ready: watch::Sender<bool>,
    stopping: watch::Sender<bool>,
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
        let backends = backends(&config)?;
        let files_of_backends = backends.iter().map(BackendSettings::files).sum();
        let core = Core::start(backends);
        core.register(&mut registry);
        let settled = core.settled();
        let mut vmcp = rate_limited(core, gate);
        if let Some(optimizer) = config.optimizer.filter(|optimizer| optimizer.enabled) {
            let most = optimizer.max_tools_to_return;
            vmcp = Arc::new(Optimizer::new(vmcp, most)) as Arc<dyn Vmcp>;
        }
        let (ready, is_ready) = watch::channel(false);
        let address = config.listen;
        let listener = listen(address).await?;
        let admin = match config.admin_listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let (stopping, is_draining) = watch::channel(false);
        let admin_address = config.admin_listen.unwrap_or(address);
        let edge = Edge {
            admin_hosts: admin_hosts(admin_address, config.allowed_hosts.as_deref()),
            allowed_hosts: (config.allowed_hosts)
                .unwrap_or_else(|| AllowedHost::of_listener(address.ip())),
            allowed_origins: config.allowed_origins,
            name: config.name,
            vmcp,
            authenticator,
            rejection: config.rejection,
            ready: is_ready,
            registry,
        };
        let default_most = || default_most(descriptors::limit(), files_of_backends);
        let max_connections = config.max_connections.map_or_else(default_most, Into::into);
        let open_files = open_files(max_connections, files_of_backends);
        descriptors::compare(open_files, "maxConnections or maxSessions");
        Ok(Self {
            listener,
            routers: routers(edge, is_draining),
            admin,
            bounds: Bounds {
                most: max_connections,
                per_address: config.max_connections_per_address.map(Into::into),
                spare: SPARE,
            },
            drain_within: config.drain_timeout.unwrap_or(DRAIN_WITHIN),
            ready,
            stopping,
            settled,
            _limits: watch,
        })
    }

    /// Where it listens; of port 0 the one that was given.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where metrics and probes are, if they have an address of their own.
    pub fn admin_addr(&self) -> Option<io::Result<SocketAddr>> {
        self.admin.as_ref().map(TcpListener::local_addr)
    }

    /// What `/metrics` shows.
    pub fn metrics(&self) -> &Metrics {
        &self.routers.metrics
    }

    /// Serves until `stop` is there, and then until requests have finished, within bounds.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send + 'static) {
        let draining = self.stopping.subscribe();
        let lifecycle = lifecycle(self.ready, self.stopping, self.settled, stop);
        let Routers {
            mcp, admin: probes, ..
        } = self.routers;
        let (mcp, admin) = match self.admin {
            Some(listener) => (mcp, Some((listener, probes))),
            None => (mcp.merge(probes), None),
        };
        let served = http::serve(
            Acceptor::new(self.listener),
            mcp,
            self.bounds,
            draining.clone(),
        );
        // It is there as long as the other is, so that a drain can be watched.
        let watched = async {
            if let Some((listener, probes)) = admin {
                let (_never, draining) = watch::channel(false);
                let bounds = Bounds::of(MOST_OF_ADMIN);
                http::serve(Acceptor::new(listener), probes, bounds, draining).await;
            }
            std::future::pending::<()>().await;
        };
        let too_long = async {
            begins(draining).await;
            sleep(self.drain_within).await;
        };
        tokio::select! {
            () = served => {}
            () = watched => {}
            () = lifecycle => {}
            () = too_long => warn!(within = ?self.drain_within, "requests did not finish"),
        }
    }
}

/// Says when this server is ready and when it drains. It has no end: requests ask until theirs.
async fn lifecycle(
    ready: watch::Sender<bool>,
    stopping: watch::Sender<bool>,
    mut settled: watch::Receiver<bool>,
    stop: impl Future<Output = ()>,
) {
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
    std::future::pending::<()>().await;
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| StartError::Listen { address, source })
}

fn backends(config: &Config) -> Result<Vec<BackendSettings>, StartError> {
    let mut backends = Vec::with_capacity(config.backends.len());
    for (place, backend) in config.backends.iter().enumerate() {
        if config.backends[..place]
            .iter()
            .any(|b| b.name == backend.name)
        {
            return Err(BackendError::Duplicate(backend.name.clone()).into());
        }
        backends.push(backend.settings(&config.incoming_auth)?);
    }
    Ok(backends)
}

fn authenticator(auth: &IncomingAuth) -> Result<Arc<dyn Authenticator>, StartError> {
    Ok(match auth {
        IncomingAuth::Anonymous {} => Arc::new(Anonymous::new()),
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
                if let Some(tls) = &settings.tls {
                    read_authorities("limiter.tls.ca", &tls.ca)?;
                }
                let client = Client::new(settings)?;
                registry.register_collector(Box::new(Remote(client.clone())));
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
            (None, None) => {
                warn!("no limits: neither limiter nor rateLimiting is set, and all calls run");
                return Ok((None, None));
            }
        };
    let gate = Gate::new(server, limiter, on_unavailable);
    gate.register(registry);
    Ok((Some(gate), watch))
}

/// The most connections where nothing is configured: as many as this process may have open with
/// [`open_files`], if it may have `limit` files open. Backends of many users leave a quarter of them all the
/// same: users open sessions when they call, and seldom all.
fn default_most(limit: u64, of_backends: usize) -> usize {
    let rest = usize::try_from(limit.saturating_sub(128)).unwrap_or(usize::MAX);
    let half = rest.saturating_sub(of_backends) / 2;
    half.max(rest / 8).clamp(1, MOST)
}

/// Files that `connections` to MCP and the backends take: each request that is being answered has a
/// connection to its backend, too.
const fn open_files(connections: usize, of_backends: usize) -> usize {
    connections
        .saturating_mul(2)
        .saturating_add(MOST_OF_ADMIN + SPARE)
        .saturating_add(of_backends)
}

/// The hosts that probes and metrics on `address` may be asked for by. What other machines can reach is
/// asked by names of Services and of proxies, too.
fn admin_hosts(address: SocketAddr, allowed: Option<&[AllowedHost]>) -> Vec<AllowedHost> {
    let mut hosts = AllowedHost::of_listener(address.ip());
    hosts.extend_from_slice(allowed.unwrap_or_default());
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_to_backends_and_backends_leave_some_to_connections() {
        for (limit, of_backends, most) in [
            (1_024, 0, 448),
            (1_024, 514, 191),
            (1_024, 5_140, 112),
            (1_000_000, 5_140, MOST),
            (100, 0, 1),
        ] {
            assert_eq!(
                default_most(limit, of_backends),
                most,
                "{limit} {of_backends}"
            );
        }
        assert_eq!(open_files(1_024, 514), 2_048 + 80 + 514);
    }
}
