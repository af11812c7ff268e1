//! Says again and again that this replica lives, and how far it has come.

use std::{convert::Infallible, time::Duration};

use tokio::{
    select,
    time::{Instant, sleep, sleep_until},
};

use super::{Views, cluster::Cluster, lease::Progress};
use crate::{backoff::Backoff, watch::chain};

/// How often a replica says so that has nothing new to say. Its Lease lasts three times as long.
const RENEW: Duration = Duration::from_secs(10);

/// The least time from one to the next, however much there is to say.
const LEAST: Duration = Duration::from_secs(1);

/// The longest wait for the next try after one that failed; less than a leader gives at first sight of
/// a Lease that has run out (`replicas.rs`).
const RETRY: Duration = Duration::from_secs(5);

/// The heartbeat of this replica.
pub(super) struct Heart {
    cluster: Cluster,
    views: Views,
    is_failing: bool,
}

impl Heart {
    pub(super) fn new(cluster: &Cluster, views: Views) -> Self {
        Self {
            cluster: cluster.clone(),
            views,
            is_failing: false,
        }
    }

    /// Beats until it is dropped.
    pub(super) async fn run(mut self) -> Infallible {
        let mut backoff = Backoff::new(LEAST, RETRY);
        loop {
            let progress = self.progress();
            let said = Instant::now();
            match self.cluster.write_own_lease(&progress).await {
                Ok(()) => {
                    self.is_failing = false;
                    backoff.reset();
                }
                Err(error) => {
                    self.failed(&error);
                    backoff.wait().await;
                    continue;
                }
            }
            sleep_until(said + LEAST).await;
            select! {
                () = sleep_until(said + RENEW) => {}
                () = self.news(&progress) => {}
            }
        }
    }

    fn progress(&mut self) -> Progress {
        let view = self.views.borrow_and_update();
        let view = view.as_deref();
        view.map(|view| Progress::of(&self.cluster.config, view))
            .unwrap_or_default()
    }

    /// Waits until there is more to say than `said`.
    async fn news(&mut self, said: &Progress) {
        while self.progress() == *said {
            if self.views.changed().await.is_err() {
                // Nothing will be new any more.
                sleep(RENEW).await;
            }
        }
    }

    fn failed(&mut self, error: &kube::Error) {
        let reason = chain(error);
        if self.is_failing {
            tracing::debug!(reason, "this replica cannot write its Lease");
        } else {
            tracing::warn!(
                reason,
                "this replica cannot write its Lease; the status of policies will not count it"
            );
        }
        self.is_failing = true;
    }
}
