//! Tells people what became of their policies: the status of each `RateLimitPolicy`, and Events.
//!
//! Every replica says in a Lease of its own how far it has come (`heartbeat.rs`). One of them, elected
//! by another Lease (`election.rs`), reads those, compares them with the policies that it knows, and
//! writes what has changed (`leader.rs`). So the number of writes to policies does not grow with the
//! number of replicas; see ADR 14.
//!
//! ```text
//! View -> Progress -> Lease of this replica
//! View, Leases of all -> Facts -> status -> API server, if it differs from what is there
//!                              -> news   -> Events
//! ```

use std::{sync::Arc, time::Duration};

use futures::join;
use kube::Client;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use toolgate_limit::Clock;

use crate::{Config, source::View};
use cluster::Cluster;
use heartbeat::Heart;

mod cluster;
mod condition;
mod election;
mod event;
#[cfg(test)]
mod fake;
mod heartbeat;
mod leader;
mod lease;
mod message;
mod replicas;

/// Stands for all of them among names of namespaces.
const ALL_NAMESPACES: &str = "*";

/// How long this replica may take to say that it leaves; less than a limiter waits for that.
const LEAVE: Duration = Duration::from_millis(1_500);

/// The latest view, once there is one.
pub(crate) type Views = watch::Receiver<Option<Arc<View>>>;

/// Tells what became of the policies, until it is stopped.
pub(crate) struct Reporter {
    cluster: Cluster,
    views: Views,
}

impl Reporter {
    /// A reporter with its Leases in `namespace`, unless `config` names another.
    pub(crate) fn new(
        client: &Client,
        config: &Config,
        namespace: &str,
        views: Views,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            cluster: Cluster::new(client, config, namespace, clock),
            views,
        }
    }

    /// Reports until `stop`; then gives up the lead, if it has it, and takes its own Lease away, each
    /// in bounded time.
    pub(crate) async fn run(&mut self, stop: CancellationToken) {
        // A replica that has nothing in force is none yet, and knows nothing to tell.
        let first = self.views.wait_for(Option::is_some);
        if !matches!(stop.run_until_cancelled(first).await, Some(Ok(_))) {
            return;
        }
        let beating = async {
            let heart = Heart::new(&self.cluster, self.views.clone());
            stop.run_until_cancelled(heart.run()).await;
            if let Ok(Err(error)) = timeout(LEAVE, self.cluster.delete_own_lease()).await {
                tracing::debug!(%error, "this replica's Lease stays until it is forgotten");
            }
        };
        let electing = election::run(&self.cluster, &self.views, &stop);
        join!(beating, electing);
    }
}

#[cfg(test)]
mod tests;
