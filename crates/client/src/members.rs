//! The replicas of an endpoint: who they are, and which of them gets a check.

use std::{collections::HashSet, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use smallvec::SmallVec;
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use toolgate_limit::LimiterError;

use crate::{
    ClientConfig, Endpoint, Resolve,
    breaker::Readiness,
    choice,
    connection::Address,
    replica::{Replica, Ticket},
    start::Start,
};

/// All replicas that are known now.
#[derive(Debug)]
pub(crate) struct Members {
    config: Arc<ClientConfig>,
    endpoint: Arc<str>,
    replicas: ArcSwap<Vec<Arc<Replica>>>,
    pub(crate) start: Arc<Start>,
    /// A replica was lost: look the name up again.
    lost: Arc<Notify>,
}

impl Members {
    pub(crate) fn new(config: Arc<ClientConfig>) -> Self {
        Self {
            endpoint: config.endpoint.to_string().into(),
            config,
            replicas: ArcSwap::default(),
            // The first look at the endpoint.
            start: Arc::new(Start::new(1)),
            lost: Arc::default(),
        }
    }

    pub(crate) fn replicas(&self) -> Arc<Vec<Arc<Replica>>> {
        self.replicas.load_full()
    }

    /// Leave to send one check. A probe that is due comes first, or a replica that has recovered
    /// would wait for its chance; it is one check in a probe interval.
    pub(crate) fn choose(&self) -> Result<Ticket, LimiterError> {
        let (now, max) = (Instant::now(), self.config.max_in_flight);
        let replicas = self.replicas.load();
        let mut ready = SmallVec::<[&Arc<Replica>; 8]>::new();
        let mut left_alone = None;
        for replica in replicas.iter() {
            match replica.readiness(now) {
                None => {}
                Some(Readiness::NotReady) => left_alone = Some(replica),
                Some(Readiness::Ready) => ready.push(replica),
                Some(Readiness::ProbeDue) => {
                    if let Some(Ok(probe)) = replica.admit(max, now) {
                        return Ok(probe);
                    }
                }
            }
        }
        let random = &mut fastrand::Rng::new();
        let mut overloaded = None;
        while !ready.is_empty() {
            let loads: SmallVec<[usize; 8]> = ready.iter().map(|r| r.in_flight()).collect();
            let chosen = choice::of_two(&loads, random);
            match ready[chosen].admit(max, now) {
                Some(Ok(ticket)) => return Ok(ticket),
                Some(Err(error)) => overloaded = Some(error),
                None => {}
            }
            ready.swap_remove(chosen);
        }
        Err(match (overloaded, left_alone) {
            (Some(error), _) => error,
            (None, Some(replica)) => LimiterError::BreakerOpen {
                endpoint: Arc::clone(replica.endpoint()),
            },
            (None, None) => self.unreachable(),
        })
    }

    pub(crate) fn unreachable(&self) -> LimiterError {
        LimiterError::Unreachable {
            endpoint: Arc::clone(&self.endpoint),
        }
    }

    /// Keeps the replicas connected, and their number that of the endpoint's addresses.
    pub(crate) async fn run(self: Arc<Self>, resolver: Arc<dyn Resolve>) {
        // Ends the replicas' tasks with this one.
        let mut tasks = JoinSet::new();
        match &self.config.endpoint {
            Endpoint::Dns { name, port } => {
                self.follow(name, *port, &*resolver, &mut tasks).await;
            }
            endpoint => {
                self.update(Address::of(endpoint).into_iter().collect(), &mut tasks);
                self.start.attempt_ended();
                while tasks.join_next().await.is_some() {}
            }
        }
    }

    async fn follow(&self, name: &str, port: u16, resolver: &dyn Resolve, tasks: &mut JoinSet<()>) {
        let interval = self.config.resolve_interval;
        let mut is_known_lost = false;
        let mut first_look = true;
        loop {
            let look = timeout(interval, resolver.resolve(name, port));
            let failure = match look.await {
                Ok(Ok(found)) if found.is_empty() => Some("it has no address".to_owned()),
                Ok(Ok(found)) => {
                    self.update(self.addresses(name, found), tasks);
                    None
                }
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("the lookup takes too long".to_owned()),
            };
            // Those that are known may still be there; whether they are, their connections tell.
            match failure {
                Some(reason) if !is_known_lost => {
                    tracing::warn!(endpoint = %self.endpoint, reason, "cannot look the limiter up");
                    is_known_lost = true;
                }
                Some(_) => {}
                None => is_known_lost = false,
            }
            if std::mem::take(&mut first_look) {
                self.start.attempt_ended();
            }
            while tasks.try_join_next().is_some() {}
            let next = Instant::now() + interval;
            sleep(interval / 5).await;
            tokio::select! {
                () = sleep_until(next) => {}
                () = self.lost.notified() => {}
            }
        }
    }

    fn addresses(&self, name: &str, mut found: Vec<SocketAddr>) -> Vec<Address> {
        found.sort_unstable();
        found.dedup();
        let tls = self.config.tls.is_some();
        let address = |socket| Address::resolved(name, socket, tls);
        found.into_iter().map(address).collect()
    }

    /// Makes `addresses` those that checks are sent to. One that has left goes on being asked as
    /// long as it is connected and none of the others is: a name may be ahead of what it names.
    fn update(&self, addresses: Vec<Address>, tasks: &mut JoinSet<()>) {
        let known = self.replicas();
        let wanted: HashSet<_> = addresses.iter().map(|a| Arc::clone(&a.label)).collect();
        let (mut replicas, gone): (Vec<_>, Vec<_>) = known
            .iter()
            .cloned()
            .partition(|replica| wanted.contains(replica.endpoint()));
        let is_connected = |replica: &Arc<Replica>| replica.readiness(Instant::now()).is_some();
        let has_successor = replicas.iter().any(is_connected);
        let (leaving, gone): (Vec<_>, Vec<_>) = gone
            .into_iter()
            .partition(|replica| !has_successor && is_connected(replica));
        let kept: HashSet<_> = replicas.iter().map(|r| Arc::clone(r.endpoint())).collect();
        for address in addresses {
            if kept.contains(&address.label) {
                continue;
            }
            tracing::info!(limiter = %address.label, "a limiter has joined");
            let replica = Arc::new(Replica::new(address, &self.config));
            self.start.add(1);
            let config = Arc::clone(&self.config);
            let (start, lost) = (Arc::clone(&self.start), Arc::clone(&self.lost));
            tasks.spawn(Arc::clone(&replica).run(config, start, lost));
            replicas.push(replica);
        }
        replicas.extend(leaving);
        self.replicas.store(Arc::new(replicas));
        for replica in gone {
            tracing::info!(limiter = %replica.endpoint(), "a limiter has left");
            replica.retire();
        }
    }
}
