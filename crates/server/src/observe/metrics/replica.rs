//! What a replica is at now.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};
use toolgate_policy::Registry;
use toolgate_tasks::Tasks;
use toolgate_telemetry::{counters, gauge};

use crate::{outage::Breaker, shares::CallerShares};

/// Shows it at each scrape.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) policies: Arc<Registry>,
    pub(crate) breaker: Arc<Breaker>,
    /// Whether the replica decides alone while the breaker is open.
    pub(crate) decides_alone: bool,
    pub(crate) shares: Arc<CallerShares>,
    /// Of each worker what all of its connections hold, and the worker too.
    pub(crate) connections: Vec<Weak<()>>,
    pub(crate) tasks: Tasks,
}

impl Collector for Replica {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let is_open = self.breaker.is_open();
        gauge(
            &mut encoder,
            "toolgate_degraded",
            "Whether this replica decides alone, as the store does not",
            i64::from(self.breaker.is_outage() && self.decides_alone),
        )?;
        gauge(
            &mut encoder,
            "toolgate_store_breaker_open",
            "Whether the circuit breaker of the store is open: no check reaches it",
            i64::from(is_open),
        )?;
        let status = self.policies.status();
        counters(
            &mut encoder,
            "toolgate_policy_reloads",
            "Readings of the policies, the first one included; after a failure they stay as they were",
            [
                ([("result", "success")], status.succeeded),
                ([("result", "failure")], status.failed),
            ],
        )?;
        gauge(
            &mut encoder,
            "toolgate_policy_last_reload_successful",
            "Whether the policies were valid when they were last read",
            i64::from(status.last_failure.is_none()),
        )?;
        gauge(
            &mut encoder,
            "toolgate_policy_generation",
            "The generation of policies in force, counted from 1 at the start",
            i64::try_from(status.generation).unwrap_or(i64::MAX),
        )?;
        counters(
            &mut encoder,
            "toolgate_connections_closed",
            "Connections to the gRPC API that were closed for what their callers do",
            self.shares.closed().series(),
        )?;
        let seats = self.connections.iter().map(Weak::strong_count);
        let connections = seats.map(|held| held.saturating_sub(1)).sum();
        let in_flight = [
            (
                "toolgate_connections",
                "Connections to the gRPC API",
                connections,
            ),
            (
                "toolgate_calls_in_flight",
                "Calls and streams on all connections that have not ended",
                self.shares.all().calls.taken(),
            ),
            (
                "toolgate_checks_in_flight",
                "Checks that are being decided",
                self.shares.all().checks.taken(),
            ),
        ];
        for (name, help, count) in in_flight {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            gauge(&mut encoder, name, help, count)?;
        }
        let restarts = self.tasks.restarts().into_iter();
        counters(
            &mut encoder,
            "toolgate_task_restarts",
            "Panics of tasks that the limiter depends on, each of which has begun anew",
            restarts.map(|(task, count)| ([("task", task)], count)),
        )
    }
}
