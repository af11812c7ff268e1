//! The queues of a store: one for one server, and one for each slot of a cluster that is in use.
//!
//! One script call may only name keys of one slot, so checks of servers in different slots never
//! share one. As each slot has its own batches, all of them are on their way at a time, over the one
//! connection to each node, and a node that is slow or gone holds up no other.

use std::{
    collections::HashMap,
    iter,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use smallvec::SmallVec;
use tokio::time::Instant;
use toolgate_limit::{Answer, Plan, StoreError};
use toolgate_tasks::Tasks;

use crate::{
    batch::MAX_CHECKS,
    cluster::{self, Cluster},
    denials::Denials,
    instruments::Instruments,
    queue::{Pending, Queue, Sender, closed},
    route::Route,
    script::CheckScript,
    span::Spans,
    ways::Ways,
};

/// Takes checks to the queue of their server.
#[derive(Debug)]
pub(crate) struct Queues {
    ways: Ways,
    lanes: Lanes,
    shared: Shared,
}

#[derive(Debug)]
enum Lanes {
    One(Queue),
    /// As many as there are slots at most. A queue that nobody uses is an idle task and some
    /// kilobytes.
    PerSlot(Arc<Cluster>, RwLock<HashMap<u16, Queue>>),
}

/// What all queues have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) script: Arc<CheckScript>,
    pub(crate) denials: Arc<Denials>,
    pub(crate) instruments: Option<Instruments>,
    pub(crate) spans: Arc<Spans>,
    pub(crate) deadline: Duration,
    pub(crate) tasks: Tasks,
}

impl Shared {
    fn queue(&self, route: Route) -> Queue {
        let sender = Sender {
            route,
            script: Arc::clone(&self.script),
            denials: Arc::clone(&self.denials),
            instruments: self.instruments.clone(),
            spans: Arc::clone(&self.spans),
            deadline: self.deadline,
        };
        Queue::open(sender, &self.tasks)
    }
}

type Answers = Vec<Result<Answer, StoreError>>;

/// Checks of one call that were put into a queue, in as few batches as it takes.
struct Asked(SmallVec<[(usize, Result<Pending, StoreError>); 1]>);

impl Asked {
    fn of(queue: &Queue, mut plans: Vec<Plan>, since: Instant) -> Self {
        let mut asked = SmallVec::new();
        while !plans.is_empty() {
            let rest = plans.split_off(plans.len().min(MAX_CHECKS));
            asked.push((plans.len(), queue.submit(plans, since)));
            plans = rest;
        }
        Self(asked)
    }

    async fn answers(self) -> Answers {
        let mut answers = Vec::new();
        for (count, submitted) in self.0 {
            let decided = match submitted {
                Ok(pending) => pending.await.unwrap_or_else(|_| Err(closed())),
                Err(error) => Err(error),
            };
            match decided {
                Ok(decided) if answers.is_empty() => answers = decided,
                Ok(decided) => answers.extend(decided),
                Err(error) => answers.extend(iter::repeat_n(Err(error), count)),
            }
        }
        answers
    }
}

impl Queues {
    /// Queues of batches that go these `ways`.
    pub(crate) fn new(ways: Ways, shared: Shared) -> Self {
        let lanes = match &ways {
            Ways::Link(link) => Lanes::One(shared.queue(Route::Link(Arc::clone(link)))),
            Ways::Cluster(cluster) => Lanes::PerSlot(Arc::clone(cluster), RwLock::default()),
        };
        Self {
            ways,
            lanes,
            shared,
        }
    }

    /// The answers to `plans`, which have come at `since`, in their order.
    pub(crate) async fn decide(&self, plans: Vec<Plan>, since: Instant) -> Answers {
        match &self.lanes {
            Lanes::One(queue) => Asked::of(queue, plans, since).answers().await,
            Lanes::PerSlot(..) => self.decide_by_slot(plans, since).await,
        }
    }

    /// Each slot's checks in a batch of their own, all on their way before one is waited for.
    async fn decide_by_slot(&self, plans: Vec<Plan>, since: Instant) -> Answers {
        let mut answers = Vec::new();
        answers.resize_with(plans.len(), || Err(closed()));
        let mut by_slot: HashMap<u16, (Vec<usize>, Vec<Plan>)> = HashMap::new();
        for (place, plan) in plans.into_iter().enumerate() {
            let (places, plans) = by_slot.entry(cluster::slot(plan.server())).or_default();
            places.push(place);
            plans.push(plan);
        }
        let asked: Vec<_> = by_slot
            .into_iter()
            .map(|(slot, (places, plans))| (places, self.ask_slot(slot, plans, since)))
            .collect();
        for (places, asked) in asked {
            for (place, answer) in places.into_iter().zip(asked.answers().await) {
                answers[place] = answer;
            }
        }
        answers
    }

    fn ask_slot(&self, slot: u16, plans: Vec<Plan>, since: Instant) -> Asked {
        let Lanes::PerSlot(cluster, lanes) = &self.lanes else {
            unreachable!("only a cluster has slots");
        };
        // No update is ever left half done by a panic, so a poisoned lock is as good as any.
        let read = lanes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = read.get(&slot) {
            return Asked::of(queue, plans, since);
        }
        drop(read);
        let mut write = lanes.write().unwrap_or_else(PoisonError::into_inner);
        let route = || Route::Slot(Arc::clone(cluster), slot);
        let queue = write
            .entry(slot)
            .or_insert_with(|| self.shared.queue(route()));
        Asked::of(queue, plans, since)
    }

    /// The ways to all servers that decide, and a key that each of them serves.
    pub(crate) async fn probes(&self, ends: Instant) -> Result<Vec<(Route, String)>, StoreError> {
        let keys = self.shared.script.keys();
        let probes = self.ways.probes(ends).await?.into_iter();
        Ok(probes
            .map(|(route, tag)| (route, keys.probe(&tag)))
            .collect())
    }
}
