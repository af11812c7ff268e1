//! The replicas of an endpoint: who they are, and which of them gets a check.

use std::{
    collections::HashSet, io, net::SocketAddr, panic::AssertUnwindSafe, sync::Arc, time::Duration,
};

use arc_swap::ArcSwap;
use futures::FutureExt as _;
use smallvec::SmallVec;
use tokio::{
    sync::Notify,
    task::{JoinError, JoinSet},
    time::{Instant, sleep, sleep_until, timeout},
};
use toolgate_limit::LimiterError;

use crate::{
    ClientConfig, Endpoint, Resolve,
    breaker::Readiness,
    choice,
    connection::Address,
    faults::Faults,
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
    pub(crate) faults: Arc<Faults>,
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
            faults: Arc::default(),
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
        let mut leaving = SmallVec::<[&Arc<Replica>; 8]>::new();
        let mut refusal = self.unreachable();
        for replica in replicas.iter() {
            match replica.readiness(now) {
                None => {}
                Some(Readiness::Ready) if replica.is_leaving() => leaving.push(replica),
                Some(Readiness::Ready) => ready.push(replica),
                Some(Readiness::NotReady) => refusal = graver(refusal, replica.left_alone()),
                Some(Readiness::ProbeDue) => match replica.admit(max, now) {
                    Ok(probe) => return Ok(probe),
                    Err(error) => refusal = graver(refusal, error),
                },
            }
        }
        if ready.is_empty() {
            ready = leaving;
        }
        let random = &mut fastrand::Rng::new();
        while !ready.is_empty() {
            let loads: SmallVec<[usize; 8]> = ready.iter().map(|r| r.in_flight()).collect();
            let chosen = choice::of_two(&loads, random);
            match ready[chosen].admit(max, now) {
                Ok(ticket) => return Ok(ticket),
                Err(error) => refusal = graver(refusal, error),
            }
            ready.swap_remove(chosen);
        }
        Err(refusal)
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
                while let Some(ended) = tasks.join_next().await {
                    log_panic(ended);
                }
            }
        }
    }

    async fn follow(&self, name: &str, port: u16, resolver: &dyn Resolve, tasks: &mut JoinSet<()>) {
        let interval = self.config.resolve_interval;
        let mut is_known_lost = false;
        let mut first_look = true;
        loop {
            let failure = match look(resolver, name, port, interval).await {
                Ok(found) => {
                    self.update(self.addresses(name, found), tasks);
                    None
                }
                Err(error) => Some(error.to_string()),
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
            while let Some(ended) = tasks.try_join_next() {
                log_panic(ended);
            }
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
            let replica = Arc::new(Replica::new(
                address,
                &self.config,
                Arc::clone(&self.faults),
            ));
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

/// The addresses of `name`: one at least, or why there is none. A resolver may be anybody's: one
/// that panics has failed in this one look, and is asked again like any other that fails.
async fn look(
    resolver: &dyn Resolve,
    name: &str,
    port: u16,
    patience: Duration,
) -> io::Result<Vec<SocketAddr>> {
    let look = async { resolver.resolve(name, port).await };
    match timeout(patience, AssertUnwindSafe(look).catch_unwind()).await {
        Ok(Ok(Ok(found))) if found.is_empty() => Err(io::Error::other("it has no address")),
        Ok(Ok(looked)) => looked,
        Ok(Err(_)) => Err(io::Error::other("the resolver has panicked")),
        Err(_) => Err(io::Error::other("the lookup takes too long")),
    }
}

/// Of two reasons to send no check, the one that tells more: a replica that takes no more works, one
/// that is left alone is connected.
fn graver(one: LimiterError, other: LimiterError) -> LimiterError {
    let weight = |error: &LimiterError| match error {
        LimiterError::Overloaded { .. } => 2,
        LimiterError::BreakerOpen { .. } => 1,
        _ => 0,
    };
    if weight(&other) > weight(&one) {
        other
    } else {
        one
    }
}

/// A replica's task ends by itself only when the replica is retired.
fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a limiter is no longer asked: its task has failed");
    }
}

#[cfg(test)]
mod tests;
