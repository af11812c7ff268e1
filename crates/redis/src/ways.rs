//! The ways to all servers of one store, on one runtime.

use std::sync::{Arc, OnceLock};

use redis::RedisConnectionInfo;
use tokio::{runtime::Handle, time::Instant};
use toolgate_limit::{ServerId, StoreError};
use toolgate_tasks::Tasks;

use crate::{
    access::Access,
    cluster::{self, Cluster},
    config::RedisConfig,
    link::{Destination, Link, Target},
    outages::Outages,
    place::{Place, Topology},
    route::Route,
    sentinel::Sentinels,
};

/// Where a store is, and how to get in: all that it takes to open connections.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) config: Arc<RedisConfig>,
    pub(crate) place: Arc<Place>,
    pub(crate) outages: Arc<Outages>,
    pub(crate) tasks: Tasks,
}

/// Connections to all servers of a store.
#[derive(Clone, Debug)]
pub(crate) enum Ways {
    /// To one server.
    Link(Arc<Link>),
    /// To the nodes of a cluster.
    Cluster(Arc<Cluster>),
}

impl Ways {
    /// Begins to connect, in tasks on the current runtime.
    pub(crate) fn open(address: &Address) -> Self {
        let Address {
            config,
            place,
            outages,
            tasks,
        } = address;
        let access = Access {
            settings: place.settings.clone(),
            login: config.login.clone(),
            tls: config.tls.clone(),
        };
        let target = match &place.topology {
            Topology::Single(addr) => Target::Node(addr.clone()),
            Topology::Sentinel { master, sentinels } => Target::Master(Arc::new(Sentinels {
                master: master.clone(),
                addresses: sentinels.clone(),
                access: Access {
                    settings: RedisConnectionInfo::default(),
                    login: config.sentinel.login.clone(),
                    tls: config.tls.clone(),
                },
                is_tls: config.sentinel.tls.unwrap_or(place.is_tls),
                servers_are_tls: place.is_tls,
                latest: 0.into(),
            })),
            Topology::Cluster { seeds } => {
                let timeouts = (config.connect_timeout, config.timeout);
                let outages = Arc::clone(outages);
                let cluster = Cluster::open(
                    access,
                    place.is_tls,
                    seeds.clone(),
                    timeouts,
                    outages,
                    tasks,
                );
                return Self::Cluster(Arc::new(cluster));
            }
        };
        Self::Link(Arc::new(Link::open(Destination {
            access,
            target,
            connect_timeout: config.connect_timeout,
            timeout: config.timeout,
            outages: Arc::clone(outages),
            tasks: tasks.clone(),
        })))
    }

    /// The way to the buckets of `server`.
    pub(crate) fn route(&self, server: &ServerId) -> Route {
        match self {
            Self::Link(link) => Route::Link(Arc::clone(link)),
            Self::Cluster(cluster) => Route::Slot(Arc::clone(cluster), cluster::slot(server)),
        }
    }

    /// The ways to all servers that decide, and a hash tag of a slot that each of them serves.
    pub(crate) async fn probes(&self, ends: Instant) -> Result<Vec<(Route, String)>, StoreError> {
        match self {
            Self::Link(link) => Ok(vec![(Route::Link(Arc::clone(link)), "ping".to_owned())]),
            Self::Cluster(cluster) => {
                let masters = cluster.masters(ends).await?.into_iter();
                let route = |slot| Route::Slot(Arc::clone(cluster), slot);
                Ok(masters.map(|(slot, tag)| (route(slot), tag)).collect())
            }
        }
    }
}

/// The ways of everything that is no check: looks at buckets and resets of them.
///
/// A process has one set of such connections, beside those of its workers' checks, so a flood of
/// looks delays no batch, and a look that times out costs no check its connection. They are opened
/// by the first that needs them and then kept. Their tasks are on the runtime of whoever has opened
/// the store, not on that of a worker.
#[derive(Debug)]
pub(crate) struct Aside {
    address: Address,
    runtime: Handle,
    ways: OnceLock<Ways>,
}

impl Aside {
    /// None are opened yet. They will be on the current runtime.
    pub(crate) fn new(address: Address) -> Self {
        Self {
            address,
            runtime: Handle::current(),
            ways: OnceLock::new(),
        }
    }

    /// The way to the buckets of `server`.
    pub(crate) fn route(&self, server: &ServerId) -> Route {
        let open = || {
            let _here = self.runtime.enter();
            Ways::open(&self.address)
        };
        self.ways.get_or_init(open).route(server)
    }
}
