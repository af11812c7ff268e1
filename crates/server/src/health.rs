//! Whether this replica can decide, told to gRPC health, to `/readyz` and, on a change, to the log.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};
use toolgate_limit::BucketStore;
use toolgate_proto::pb::{
    admin_service_server::SERVICE_NAME as ADMIN, limiter_service_server::SERVICE_NAME as LIMITER,
};

/// How often the store is asked whether it would decide.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// After a failure it is asked again sooner, so that a passing one shows nobody the door.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// So many failures in a row are an outage.
const FAILURES: u32 = 3;

/// Whether calls should be sent here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// They are decided.
    Ready,
    /// They are not, for this reason.
    NotReady(String),
}

/// Probes the store until `stopping`, and then reports that nothing is served any more.
pub(crate) struct Monitor {
    store: Arc<dyn BucketStore>,
    health: HealthReporter,
    readiness: watch::Sender<Readiness>,
    stopping: CancellationToken,
}

impl Monitor {
    /// A monitor, and what it finds.
    pub(crate) fn new(
        store: Arc<dyn BucketStore>,
        health: HealthReporter,
        stopping: CancellationToken,
    ) -> (Self, watch::Receiver<Readiness>) {
        let unknown = Readiness::NotReady("the store was not asked yet".to_owned());
        let (readiness, found) = watch::channel(unknown);
        let monitor = Self {
            store,
            health,
            readiness,
            stopping,
        };
        (monitor, found)
    }

    pub(crate) async fn run(self) {
        self.set(ADMIN, ServingStatus::Serving).await;
        let stopping = self.stopping.clone();
        stopping
            .run_until_cancelled(async {
                let mut failures = 0;
                loop {
                    sleep(self.probe(&mut failures).await).await;
                }
            })
            .await;
        let stops = "the limiter is stopping".to_owned();
        self.readiness.send_replace(Readiness::NotReady(stops));
        for service in ["", LIMITER, ADMIN] {
            self.set(service, ServingStatus::NotServing).await;
        }
    }

    /// Asks the store, tells of a change, and returns how long to wait before the next time.
    async fn probe(&self, failures: &mut u32) -> Duration {
        match self.store.ping().await {
            Ok(()) => {
                *failures = 0;
                self.tell(Readiness::Ready, ServingStatus::Serving).await;
            }
            Err(error) => {
                *failures = failures.saturating_add(1);
                if *failures < FAILURES {
                    return RETRY_INTERVAL;
                }
                let found = Readiness::NotReady(error.to_string());
                self.tell(found, ServingStatus::NotServing).await;
            }
        }
        PROBE_INTERVAL
    }

    async fn tell(&self, found: Readiness, status: ServingStatus) {
        let before = self.readiness.send_replace(found.clone());
        if before == found {
            return;
        }
        self.set("", status).await;
        self.set(LIMITER, status).await;
        match (before, found) {
            (_, Readiness::Ready) => tracing::info!("ready: the store answers"),
            (Readiness::Ready, Readiness::NotReady(reason)) => {
                tracing::error!(reason, "not ready: checks are not decided");
            }
            // Another reason for the same state.
            (Readiness::NotReady(_), Readiness::NotReady(_)) => {}
        }
    }

    async fn set(&self, service: &str, status: ServingStatus) {
        self.health.set_service_status(service, status).await;
    }
}
