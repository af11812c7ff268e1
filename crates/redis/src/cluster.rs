//! A Redis Cluster: a link to each node, and the way of a call to the node that serves its slot.
//!
//! A node that does not serve a slot, or not yet, says so before it runs anything, so the call goes
//! on to where it is told. A call that has no reply is never sent again: it may have been paid.
//!
//! The redis crate's own cluster connection was not used, as it cannot tell the two apart: it sends
//! a call again when the connection broke under it (docs/adr/012).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::FutureExt as _;
use redis::Value;
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout_at},
};
use toolgate_limit::StoreError;
use toolgate_tasks::Tasks;

use crate::{
    access::Access,
    call::{Asking, Call},
    error::{ErrorClass, Failure, Fault},
    link::{Destination, Link, Target},
    outages::{Member, Outages},
    place::HostPort,
};

mod keeper;
mod redirect;
mod slots;

use keeper::Keeper;
pub(crate) use redirect::Redirect;
pub(crate) use slots::{SlotMap, slot};

/// The most nodes that one call is sent to in a row. A redirection leads to a node that serves the slot, or
/// that did until now.
const MAX_HOPS: usize = 8;

/// Pauses while keys of one call are on two nodes grow from here.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// A link that no slot leads to is dropped when nobody has used it for so long: it led to a node
/// that has left, or that slots were on their way to.
const IDLE: Duration = Duration::from_secs(10);

/// The nodes of a cluster, on one runtime.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Arc<Nodes>,
    topology: watch::Receiver<State>,
    keeper: JoinHandle<()>,
}

/// What is known of who serves which slot.
#[derive(Clone, Debug)]
enum State {
    /// Nodes are being asked for the first time.
    Unknown,
    Known(Arc<SlotMap>),
    /// No node has answered yet.
    Unreachable(Fault),
}

#[derive(Debug)]
struct Nodes {
    access: Access,
    is_tls: bool,
    connect_timeout: Duration,
    timeout: Duration,
    outages: Arc<Outages>,
    tasks: Tasks,
    seeds: Vec<HostPort>,
    links: Mutex<HashMap<HostPort, Known>>,
    topology: watch::Sender<State>,
    /// On which links live, whoever uses one first.
    runtime: Handle,
    /// Told when what is known does not hold any more.
    outdated: Notify,
}

#[derive(Debug)]
struct Known {
    link: Arc<Link>,
    used: Instant,
}

impl Cluster {
    /// Begins to look for who serves what, in a task on the current runtime. An attempt to connect, and a
    /// check, have these times at most.
    pub(crate) fn open(
        access: Access,
        is_tls: bool,
        seeds: Vec<HostPort>,
        (connect_timeout, timeout): (Duration, Duration),
        outages: Arc<Outages>,
        tasks: &Tasks,
    ) -> Self {
        let member = Member::new(&outages, "a cluster".to_owned());
        let (publish, topology) = watch::channel(State::Unknown);
        let nodes = Arc::new(Nodes {
            access,
            is_tls,
            connect_timeout,
            timeout,
            outages,
            tasks: tasks.clone(),
            seeds,
            links: Mutex::default(),
            topology: publish,
            runtime: Handle::current(),
            outdated: Notify::new(),
        });
        let keeper = Keeper {
            nodes: Arc::clone(&nodes),
            member,
        };
        Self {
            nodes,
            topology,
            keeper: tasks.spawn("redis_slots", keeper, |keeper| keeper.run().boxed()),
        }
    }

    /// The reply to `call` of the node that serves `slot`, by `ends`; `deadline` is what there was
    /// for it in all. While the keys of the call are on two nodes, which no node can help, it is
    /// tried again for `patience`.
    pub(crate) async fn run(
        &self,
        slot: u16,
        call: Call<'_>,
        ends: Instant,
        deadline: Duration,
        patience: Duration,
    ) -> Result<Value, Failure> {
        let no_later_than = ends.min(Instant::now() + patience);
        let mut pause = FIRST_PAUSE;
        let mut next = (self.owner(slot, ends, deadline).await?, Asking::No);
        let mut hops = 0;
        loop {
            let (node, asking) = next;
            let link = self.nodes.link(&node);
            let failure = match link.run(call, asking, ends, deadline).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            hops += 1;
            next = match Redirect::of(&failure, &node) {
                Some(Redirect::Moved(_) | Redirect::Ask(_)) if hops >= MAX_HOPS => {
                    self.nodes.outdated.notify_one();
                    return Err(failure);
                }
                Some(Redirect::Moved(to)) => {
                    self.nodes.moved(slot, to.clone());
                    (to, Asking::No)
                }
                Some(Redirect::Ask(to)) => (to, Asking::Yes),
                Some(Redirect::Later) if Instant::now() + pause < no_later_than => {
                    sleep(pause).await;
                    pause *= 2;
                    hops = 0;
                    (self.owner(slot, ends, deadline).await?, Asking::No)
                }
                Some(Redirect::Later) => return Err(failure),
                None => {
                    self.nodes.outdated.notify_one();
                    return Err(failure);
                }
            };
        }
    }

    /// The node that serves `slot`, as a part of the store; those that no node serves are one part.
    pub(crate) fn part(&self, slot: u16) -> Arc<str> {
        match &*self.topology.borrow() {
            State::Known(map) => match map.owner(slot) {
                Some(node) => node.to_string().into(),
                None => "slots that no node serves".into(),
            },
            State::Unknown | State::Unreachable(_) => "an unknown node".into(),
        }
    }

    /// `failure` of a call on `slot`, as an error of a part, where others decide.
    pub(crate) fn scope(&self, failure: Failure, slot: u16) -> StoreError {
        // What every node says, whichever is asked.
        let is_of_all = matches!(&failure, Failure::Refused(error)
            if error.to_string().contains("The cluster is down"));
        let error = StoreError::from(failure);
        if error.is_outage() && !is_of_all && !self.nodes.up().is_empty() {
            StoreError::Partial {
                part: self.part(slot),
                error: Box::new(error),
            }
        } else {
            error
        }
    }

    /// Whether work on `slot` that is begun now is sent at once.
    pub(crate) fn is_up(&self, slot: u16) -> bool {
        match &*self.topology.borrow() {
            State::Known(map) => map
                .owner(slot)
                .is_some_and(|node| self.nodes.link(node).is_up()),
            State::Unknown | State::Unreachable(_) => false,
        }
    }

    /// For each master one of its slots, and a hash tag that is in it.
    pub(crate) async fn masters(&self, ends: Instant) -> Result<Vec<(u16, String)>, StoreError> {
        match timeout_at(ends, self.known()).await {
            Ok(map) => Ok(map?.probes()),
            Err(_) => Err(Fault::new(ErrorClass::Unreachable, "no node has answered yet").into()),
        }
    }

    /// The node that serves `slot`, by what is known now or by what is just being asked.
    async fn owner(
        &self,
        slot: u16,
        ends: Instant,
        deadline: Duration,
    ) -> Result<HostPort, Failure> {
        let known = timeout_at(ends, self.known()).await;
        let map = known
            .unwrap_or(Err(StoreError::Timeout { after: deadline }))
            .map_err(Failure::NoReply)?;
        map.owner(slot).cloned().ok_or_else(|| {
            self.nodes.outdated.notify_one();
            Failure::NoReply(unserved(slot))
        })
    }

    async fn known(&self) -> Result<Arc<SlotMap>, StoreError> {
        let mut topology = self.topology.clone();
        let known = topology
            .wait_for(|state| !matches!(state, State::Unknown))
            .await;
        match known.as_deref() {
            Ok(State::Known(map)) => Ok(Arc::clone(map)),
            Ok(State::Unreachable(fault)) => Err(fault.clone().into()),
            Ok(State::Unknown) | Err(_) => Err(crate::queue::closed()),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Nodes {
    /// The link to `node`.
    fn link(&self, node: &HostPort) -> Arc<Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let used = Instant::now();
        if let Some(known) = links.get_mut(node) {
            known.used = used;
            return Arc::clone(&known.link);
        }
        let _here = self.runtime.enter();
        let link = Arc::new(Link::open(Destination {
            access: self.access.clone(),
            target: Target::Node(node.addr(self.is_tls)),
            connect_timeout: self.connect_timeout,
            timeout: self.timeout,
            outages: Arc::clone(&self.outages),
            tasks: self.tasks.clone(),
        }));
        let known = Known {
            link: Arc::clone(&link),
            used,
        };
        links.insert(node.clone(), known);
        link
    }

    /// Nodes to ask who serves what: those with a connection that is up.
    fn up(&self) -> Vec<(HostPort, Arc<Link>)> {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let up = links.iter().filter(|(_, known)| known.link.is_up());
        up.map(|(node, known)| (node.clone(), Arc::clone(&known.link)))
            .collect()
    }

    /// `slot` is at `to` now, and who knows what else has changed.
    fn moved(&self, slot: u16, to: HostPort) {
        self.topology.send_modify(|state| {
            if let State::Known(map) = state {
                Arc::make_mut(map).move_slot(slot, to);
            }
        });
        self.outdated.notify_one();
    }

    /// Goes by `map` from now on, and drops links that lead nowhere.
    fn publish(&self, map: SlotMap) {
        let now = Instant::now();
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|node, known| {
            map.masters().contains(node) || now.saturating_duration_since(known.used) < IDLE
        });
        drop(links);
        self.topology.send_replace(State::Known(Arc::new(map)));
    }
}

fn unserved(slot: u16) -> StoreError {
    let text = format!("CLUSTERDOWN slot {slot} is served by no node that is known");
    Fault::new(ErrorClass::ClusterDown, text).into()
}
