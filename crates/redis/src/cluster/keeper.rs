//! The task that knows who serves which slot.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use redis::Value;
use tokio::time::{Instant, sleep, timeout};
use toolgate_limit::StoreError;

use super::{Nodes, State, slots::SlotMap};
use crate::{
    call::{Asking, Call},
    error::{ErrorClass, Failure, Fault},
    outages::Member,
    place::HostPort,
};

/// Pauses between questions grow from the first to the second while nothing changes.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Nodes are asked so often when nothing gives a reason to.
const INTERVAL: Duration = Duration::from_secs(30);

/// So many nodes are asked at a time; the first answer counts.
const AT_A_TIME: usize = 3;

/// Asks nodes who serves what, at first and when it has changed.
pub(super) struct Keeper {
    pub(super) nodes: Arc<Nodes>,
    pub(super) member: Member,
}

impl Keeper {
    pub(super) async fn run(&mut self) {
        let mut pause = BACKOFF.0;
        let mut known = SlotMap::default();
        loop {
            match self.ask().await {
                Ok(map) => {
                    if map == known {
                        pause = (pause * 2).min(BACKOFF.1);
                    } else {
                        tracing::info!(
                            masters = map.masters().len(),
                            "the cluster's slots are known"
                        );
                        pause = BACKOFF.0;
                        known = map.clone();
                    }
                    self.member.up();
                    self.nodes.publish(map);
                    // Who asks again is told what was heard not long ago.
                    sleep(pause).await;
                    let _ = timeout(INTERVAL, self.nodes.outdated.notified()).await;
                }
                Err(fault) => {
                    if self.member.down() {
                        let kind = fault.class.as_str();
                        tracing::error!(kind, reason = %fault, "no node of the cluster answers");
                    }
                    // What was known before may still hold.
                    self.nodes.topology.send_if_modified(|state| {
                        let is_unknown = !matches!(state, State::Known(_));
                        if is_unknown {
                            *state = State::Unreachable(fault);
                        }
                        is_unknown
                    });
                    sleep(pause).await;
                    pause = (pause * 2).min(BACKOFF.1);
                }
            }
        }
    }

    /// The first answer: of nodes to which there is a connection, or else of those in the URL.
    async fn ask(&self) -> Result<SlotMap, Fault> {
        let deadline = self.nodes.connect_timeout;
        let up = self.nodes.up().into_iter().map(|(node, link)| {
            async move {
                let ends = Instant::now() + deadline;
                let reply = link.run(Call::Slots, Asking::No, ends, deadline).await;
                let reply = reply.map_err(|failure| match failure {
                    Failure::Refused(error) => Fault::from(&error).at(&node),
                    Failure::NoReply(StoreError::Unavailable { reason, .. }) => {
                        Fault::new(ErrorClass::Unreachable, reason)
                    }
                    Failure::NoReply(_) => silent().at(&node),
                });
                read(reply?, &node)
            }
            .boxed()
        });
        let seeds = self.nodes.seeds.iter().map(|seed| {
            async move {
                let addr = seed.addr(self.nodes.is_tls);
                let mut connection = self.nodes.access.connect(&addr, deadline).await?;
                let ask = Call::Slots.send(&mut connection, Asking::No);
                let reply = timeout(deadline, ask).await;
                let reply = reply.map_err(|_| silent().at(seed))?;
                read(reply.map_err(|error| Fault::from(&error).at(seed))?, seed)
            }
            .boxed()
        });
        let questions: Vec<BoxFuture<'_, _>> = up.chain(seeds).collect();
        let mut answers = stream::iter(questions).buffer_unordered(AT_A_TIME);
        let mut fault = Fault::new(ErrorClass::Unreachable, "the URL names no node");
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(map) => return Ok(map),
                Err(failed) => fault = failed,
            }
        }
        Err(fault)
    }
}

fn silent() -> Fault {
    Fault::new(ErrorClass::Unreachable, "no reply to CLUSTER SLOTS in time")
}

fn read(reply: Value, node: &HostPort) -> Result<SlotMap, Fault> {
    match SlotMap::read(reply, node) {
        Some(map) if !map.is_empty() => Ok(map),
        Some(_) => Err(Fault::new(ErrorClass::ClusterDown, "no slot is served").at(node)),
        None => Err(Fault::new(ErrorClass::Protocol, "no reply to CLUSTER SLOTS").at(node)),
    }
}
