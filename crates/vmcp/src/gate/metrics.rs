//! What a gate shows of itself: what it decided, why it could not, and how long it waited.
//!
//! [`FailOpen`] and the client count already; collectors show their counts at each scrape.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::DescriptorEncoder,
    registry::{Registry, Unit},
};
use toolgate_client::{
    BreakerState, Cause, Client, ConfigFault, FailOpen, OnUnavailable, ReplicaStatus,
};
use toolgate_limit::Limiter;
use toolgate_telemetry::{TracedHistogram, counter, counters, gauges};

/// Upper bounds in seconds: 25 us is a limiter on a Unix socket, 50 ms the default timeout.
const CHECK_SECONDS: [f64; 14] = [
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 1.0,
];

pub(super) fn check_duration() -> TracedHistogram {
    TracedHistogram::new(CHECK_SECONDS.into_iter())
}

pub(super) fn register(
    registry: &mut Registry,
    limiter: &Arc<FailOpen<Arc<dyn Limiter>>>,
    on_unavailable: OnUnavailable,
    check_duration: &TracedHistogram,
) {
    registry.register_collector(Box::new(Verdicts {
        limiter: Arc::clone(limiter),
        on_unavailable,
    }));
    registry.register_with_unit(
        "toolgate_client_check_duration",
        "How long calls waited for the limiter, whatever came of it",
        Unit::Seconds,
        check_duration.clone(),
    );
}

/// What became of checks. Every series is there from the start, so that a first failure is an
/// increase.
#[derive(Debug)]
struct Verdicts {
    limiter: Arc<FailOpen<Arc<dyn Limiter>>>,
    on_unavailable: OnUnavailable,
}

impl Collector for Verdicts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let decided = self.limiter.counters();
        let undecided = |if_so| {
            Cause::ALL.map(|cause| {
                let counts = self.on_unavailable == if_so;
                let count = if counts { decided.undecided(cause) } else { 0 };
                ([("cause", cause.as_str())], count)
            })
        };
        let failed_open = undecided(OnUnavailable::Allow);
        let refused = undecided(OnUnavailable::Deny);
        let sum = |series: &[([(&str, &str); 1], u64)]| series.iter().map(|(_, count)| count).sum();
        counters(
            &mut encoder,
            "toolgate_client_checks",
            "Calls that were checked, by what became of them",
            [
                ([("result", "allowed")], decided.allowed()),
                ([("result", "denied")], decided.denied()),
                ([("result", "fail_open")], sum(&failed_open)),
                ([("result", "refused")], sum(&refused)),
            ],
        )?;
        counters(
            &mut encoder,
            "toolgate_client_fail_open",
            "Calls that ran without a decision of the limiter, by why there was none",
            failed_open,
        )?;
        counters(
            &mut encoder,
            "toolgate_client_refused",
            "Calls that were refused without a decision of the limiter, by why there was none",
            refused,
        )?;
        counter(
            &mut encoder,
            "toolgate_client_unnamed_checks",
            "Checks of a server that no policy names, which are not limited",
            self.limiter.unnamed(),
        )
    }
}

/// The label of a replica: its address, which is the operator's.
fn endpoint(replica: &ReplicaStatus) -> (&'static str, &str) {
    ("endpoint", &replica.endpoint)
}

/// What a client knows of a limiter service: denials that it need not ask for, and the replicas. One
/// that has left is no longer shown.
#[derive(Debug)]
pub(crate) struct Remote(pub(crate) Client);

impl Collector for Remote {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        counter(
            &mut encoder,
            "toolgate_client_deny_cache_hits",
            "Calls that were denied without asking the limiter, whose denial is remembered",
            self.0.deny_cache_hits(),
        )?;
        counters(
            &mut encoder,
            "toolgate_client_config_faults",
            "Checks refused and connections not made for a fault of configuration, by which",
            ConfigFault::ALL.map(|f| ([("cause", f.as_str())], self.0.config_faults(f))),
        )?;
        show(&self.0.replicas(), encoder)
    }
}

fn show(replicas: &[ReplicaStatus], mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
    gauges(
        &mut encoder,
        "toolgate_client_replica_connected",
        "Whether a limiter replica is connected",
        replicas
            .iter()
            .map(|r| ([endpoint(r)], i64::from(r.connected))),
    )?;
    let in_flight = |r: &ReplicaStatus| i64::try_from(r.in_flight).unwrap_or(i64::MAX);
    gauges(
        &mut encoder,
        "toolgate_client_replica_in_flight",
        "Checks sent to a limiter replica and not answered yet",
        replicas.iter().map(|r| ([endpoint(r)], in_flight(r))),
    )?;
    let states = [
        BreakerState::Closed,
        BreakerState::Open,
        BreakerState::Probing,
    ];
    gauges(
        &mut encoder,
        "toolgate_client_breaker_state",
        "1 for the state that the circuit breaker of a limiter replica is in, 0 for the others",
        replicas.iter().flat_map(|r| {
            states.map(|state| {
                let labels = [endpoint(r), ("state", state.as_str())];
                (labels, i64::from(r.breaker == state))
            })
        }),
    )
}

#[cfg(test)]
mod tests;
