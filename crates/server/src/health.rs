//! Whether this replica can decide, told to gRPC health, to `/readyz` and, on a change, to the log;
//! and the probes that find out.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tonic_health::pb::health_check_response::ServingStatus;
use toolgate_limit::StoreError;
use toolgate_policy::ReloadStatus;
use toolgate_proto::pb::{
    admin_service_server::SERVICE_NAME as ADMIN, limiter_service_server::SERVICE_NAME as LIMITER,
};

use crate::{
    grpc::ServiceHealth,
    outage::{Course, LATE_FOR, Verdict},
    stores::Stores,
};

/// So many panics in a row, with no answer of the store in between, and nobody knows whether checks are
/// decided.
const MANY: u32 = 3;

const UNKNOWN: &str = "whether checks are decided cannot be found out: the monitor panics";

/// Whether calls should be sent here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// They are decided.
    Ready,
    /// They are decided without the store, for this reason.
    Degraded(String),
    /// Most are; those that concern a part of the store are not decided by it, for this reason.
    Partly(String),
    /// They are not, for this reason.
    NotReady(String),
}

/// Probes the store until `stopping`, and then reports that nothing is served any more.
pub(crate) struct Monitor {
    stores: Stores,
    policies: watch::Receiver<ReloadStatus>,
    health: ServiceHealth,
    readiness: watch::Sender<Readiness>,
    stopping: CancellationToken,
    /// How often it was begun since the store was last asked to the end.
    fruitless_runs: u32,
}

impl Monitor {
    /// A monitor, and what it finds.
    pub(crate) fn new(
        stores: Stores,
        policies: watch::Receiver<ReloadStatus>,
        health: ServiceHealth,
        stopping: CancellationToken,
    ) -> (Self, watch::Receiver<Readiness>) {
        let unknown = Readiness::NotReady("the store was not asked yet".to_owned());
        let (readiness, found) = watch::channel(unknown);
        let monitor = Self {
            stores,
            policies,
            health,
            readiness,
            stopping,
            fruitless_runs: 0,
        };
        (monitor, found)
    }

    /// May begin anew after a panic. What it said last holds until it knows better, unless it has
    /// panicked [`MANY`] times without an answer of the store: then nobody knows.
    pub(crate) async fn run(&mut self) {
        self.set(ADMIN, ServingStatus::Serving);
        if self.fruitless_runs >= MANY {
            let unknown = Readiness::NotReady(UNKNOWN.to_owned());
            self.tell(unknown, ServingStatus::NotServing);
        }
        self.fruitless_runs += 1;
        let stopping = self.stopping.clone();
        let serves = async {
            self.policies_are_read().await;
            self.probes().await;
        };
        stopping.run_until_cancelled(serves).await;
        let stops = "the limiter is stopping".to_owned();
        self.readiness.send_replace(Readiness::NotReady(stops));
        for service in ["", LIMITER, ADMIN] {
            self.set(service, ServingStatus::NotServing);
        }
    }

    /// Until then nobody knows what is limited, and nothing is decided.
    async fn policies_are_read(&self) {
        let mut policies = self.policies.clone();
        if policies.borrow().generation > 0 {
            return;
        }
        let waits = "the policies were not read yet".to_owned();
        self.readiness.send_replace(Readiness::NotReady(waits));
        for service in ["", LIMITER] {
            self.set(service, ServingStatus::NotServing);
        }
        // An error says that the registry is gone, and with it the server.
        let _ = policies.wait_for(|status| status.generation > 0).await;
    }

    async fn probes(&mut self) {
        let breaker = Arc::clone(self.stores.breaker());
        let mut course = Course::new();
        loop {
            let pause = self.probe(&mut course).await;
            self.fruitless_runs = 0;
            tokio::select! {
                () = sleep(pause) => {}
                () = breaker.tripped() => sleep(course.tripped(Instant::now())).await,
            }
        }
    }

    /// Asks the store, tells of a change, and returns how long to wait before the next time.
    async fn probe(&self, course: &mut Course) -> Duration {
        let outcome = self.stores.probe().await;
        match outcome {
            Ok(()) | Err(StoreError::Partial { .. }) => {
                let now = Instant::now();
                let was_open = self.stores.breaker().close();
                let pause = course.succeeded(was_open, now);
                if let Some(local) = self.stores.local()
                    && course.drops_local(local.take_use(), now)
                {
                    let groups = local.drop_all().await;
                    tracing::info!(groups, "what local buckets have learned is dropped");
                }
                let mut parts = match outcome {
                    Err(part) if course.lacks_a_part() => vec![part.to_string()],
                    Err(_) => Vec::new(),
                    Ok(()) => {
                        course.is_whole();
                        Vec::new()
                    }
                };
                // A probe passes where checks fail: they have other keys, sizes and rights.
                match self.stores.breaker().failures().verdict(now) {
                    Verdict::Outage(reason) => {
                        self.tell_outage(reason);
                        return pause;
                    }
                    Verdict::Parts(failing) => parts.extend(failing),
                    Verdict::Well => {}
                }
                self.tell_parts(parts);
                pause
            }
            Err(error) => {
                let now = Instant::now();
                // A late probe proves as little as a late check.
                let is_late = matches!(error, StoreError::Timeout { .. });
                if is_late && self.stores.breaker().probe_was_late() {
                    course.checks_are_decided();
                }
                let pause = course.failed(now);
                if course.is_outage(now, if is_late { LATE_FOR } else { Duration::ZERO }) {
                    self.stores.breaker().open(&error);
                    self.tell_outage(error.to_string());
                }
                pause
            }
        }
    }

    /// Those parts of the store do not decide, for these reasons.
    fn tell_parts(&self, mut reasons: Vec<String>) {
        reasons.sort_unstable();
        reasons.dedup();
        let reasons = reasons.join("; ");
        let is_whole = reasons.is_empty();
        let trouble = (!is_whole).then(|| (reasons.clone(), false));
        self.stores.breaker().set_trouble(trouble);
        let found = if is_whole {
            Readiness::Ready
        } else {
            Readiness::Partly(reasons)
        };
        self.tell(found, ServingStatus::Serving);
    }

    fn tell_outage(&self, reason: String) {
        let trouble = (reason.clone(), true);
        self.stores.breaker().set_trouble(Some(trouble));
        if self.stores.local().is_some() {
            // Gateways should go on sending calls here: they are limited.
            let found = Readiness::Degraded(reason);
            self.tell(found, ServingStatus::Serving);
        } else {
            let found = Readiness::NotReady(reason);
            self.tell(found, ServingStatus::NotServing);
        }
    }

    fn tell(&self, found: Readiness, status: ServingStatus) {
        let before = self.readiness.send_replace(found.clone());
        if before == found {
            return;
        }
        self.set("", status);
        self.set(LIMITER, status);
        match (before, found) {
            (Readiness::Degraded(_), Readiness::Ready) => {
                tracing::info!("recovered: the store decides again");
            }
            (Readiness::Partly(_), Readiness::Ready) => {
                tracing::info!("recovered: all of the store decides again");
            }
            (_, Readiness::Ready) => tracing::info!("ready: the store answers"),
            // Another reason for the same state.
            (Readiness::Degraded(_), Readiness::Degraded(_))
            | (Readiness::Partly(_), Readiness::Partly(_)) => {}
            (_, Readiness::Partly(reason)) => {
                tracing::warn!(reason, "degraded: a part of the store does not decide");
            }
            (_, Readiness::Degraded(reason)) => {
                tracing::warn!(
                    reason,
                    "degraded: the store does not decide, this replica decides alone"
                );
            }
            (Readiness::Ready | Readiness::Partly(_), Readiness::NotReady(reason)) => {
                tracing::error!(reason, "not ready: checks are not decided");
            }
            (_, Readiness::NotReady(_)) => {}
        }
    }

    fn set(&self, service: &'static str, status: ServingStatus) {
        self.health.set(service, status);
    }
}

#[cfg(test)]
mod tests;
