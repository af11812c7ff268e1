//! The way of a batch to the server that decides it.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use redis::Value;
use tokio::time::Instant;
use toolgate_limit::{Answer, StoreError};

use crate::{
    batch::Batch,
    call::{Asking, Call},
    cluster::Cluster,
    error::Failure,
    link::Link,
    script::CheckScript,
};

/// Where the batches of one queue go.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// To one server.
    Link(Arc<Link>),
    /// To whichever node of a cluster serves this slot.
    Slot(Arc<Cluster>, u16),
}

type Answers = Vec<Result<Answer, StoreError>>;

impl Route {
    /// The answers to `batch`, in the order of its checks, by `ends`; `deadline` is what there was
    /// for it in all.
    pub(crate) async fn decide(
        &self,
        script: &CheckScript,
        batch: &Batch,
        ends: Instant,
        deadline: Duration,
    ) -> Result<Answers, StoreError> {
        match self {
            Self::Link(link) => {
                let call = Call::Decide { script, batch };
                batch.answers(link.run(call, Asking::No, ends, deadline).await?)
            }
            Self::Slot(cluster, slot) => {
                let way = Way {
                    cluster,
                    slot: *slot,
                    script,
                    ends,
                    deadline,
                };
                Box::pin(way.decide(batch)).await
            }
        }
    }

    /// The reply to `call`, by `ends`; `deadline` is what there was for it in all.
    pub(crate) async fn run(
        &self,
        call: Call<'_>,
        ends: Instant,
        deadline: Duration,
    ) -> Result<Value, StoreError> {
        match self {
            Self::Link(link) => Ok(link.run(call, Asking::No, ends, deadline).await?),
            Self::Slot(cluster, slot) => {
                let patience = deadline / PATIENCE;
                let reply = cluster.run(*slot, call, ends, deadline, patience).await;
                reply.map_err(|failure| cluster.scope(failure, *slot))
            }
        }
    }

    /// What it leads to, as a part of the store.
    pub(crate) fn part(&self) -> Arc<str> {
        match self {
            Self::Link(link) => link.address().into(),
            Self::Slot(cluster, slot) => cluster.part(*slot),
        }
    }

    /// Whether a batch that is sent now is on its way at once.
    pub(crate) fn is_up(&self) -> bool {
        match self {
            Self::Link(link) => link.is_up(),
            Self::Slot(cluster, slot) => cluster.is_up(*slot),
        }
    }
}

/// A call whose keys are on two nodes is tried again for one part in so many of its deadline. A slot
/// of few keys has moved by then; of many it would hold up all other checks of the server.
const PATIENCE: u32 = 4;

/// The way of one batch through a cluster.
struct Way<'a> {
    cluster: &'a Cluster,
    slot: u16,
    script: &'a CheckScript,
    ends: Instant,
    deadline: Duration,
}

impl Way<'_> {
    async fn decide(&self, batch: &Batch) -> Result<Answers, StoreError> {
        let checks = batch.plans().count();
        let patience = if checks > 1 {
            Duration::ZERO
        } else {
            self.deadline / PATIENCE
        };
        match self.call(batch, patience).await {
            Ok(answers) => Ok(answers),
            // While their slot moves, checks together touch keys on both nodes where each alone
            // touches those of one.
            Err(Failure::Refused(error)) if checks > 1 && is_torn(&error) => {
                let alone = batch.plans().map(async |plan| {
                    let mut alone = Batch::default();
                    let taken = alone.add(vec![plan.clone()]);
                    debug_assert!(taken.is_ok(), "an empty batch takes every plan");
                    let answers = self.call(&alone, self.deadline / PATIENCE).await;
                    let answers =
                        answers.map_err(|failure| self.cluster.scope(failure, self.slot))?;
                    let answer = answers.into_iter().next();
                    answer.unwrap_or_else(|| Err(crate::queue::closed()))
                });
                Ok(join_all(alone).await)
            }
            Err(failure) => Err(self.cluster.scope(failure, self.slot)),
        }
    }

    async fn call(&self, batch: &Batch, patience: Duration) -> Result<Answers, Failure> {
        let script = self.script;
        let call = Call::Decide { script, batch };
        let (ends, deadline) = (self.ends, self.deadline);
        let reply = self.cluster.run(self.slot, call, ends, deadline, patience);
        batch.answers(reply.await?).map_err(Failure::NoReply)
    }
}

/// Whether `error` says that keys of one call are on two nodes.
fn is_torn(error: &redis::RedisError) -> bool {
    let refusals = crate::error::refusals(error);
    refusals
        .iter()
        .any(|(_, refusal)| refusal.code() == "TRYAGAIN")
}
