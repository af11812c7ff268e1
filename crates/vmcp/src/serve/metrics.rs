//! What the edge counts: messages by method and outcome, and callers that were not let in.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::outcome::Outcome;
use crate::auth::Unauthorized;

/// Upper bounds in seconds.
const REQUEST_SECONDS: [f64; 15] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
];

/// The methods that have a label of their own. Callers choose the others, which share one.
const METHODS: [&str; 19] = [
    "completion/complete",
    "initialize",
    "logging/setLevel",
    "notifications/cancelled",
    "notifications/initialized",
    "notifications/progress",
    "notifications/roots/list_changed",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "server/discover",
    "subscriptions/listen",
    "tools/call",
    "tools/list",
];

/// The label of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Method {
    method: &'static str,
}

impl Method {
    /// Of a message that is none, or names no method that is known here.
    pub(super) const OTHER: Self = Self { method: "other" };

    pub(super) fn of(name: &str) -> Self {
        let known = METHODS.into_iter().find(|method| *method == name);
        known.map_or(Self::OTHER, |method| Self { method })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Turned {
    reason: &'static str,
}

/// The instruments of the edge; clones are the same ones.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    requests: Family<Answered, Counter>,
    duration: Family<Method, Histogram, fn() -> Histogram>,
    unauthorized: Family<Turned, Counter>,
}

impl Metrics {
    /// Instruments that `registry` shows: `vmcp_requests_…` and `vmcp_unauthorized_…`.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(REQUEST_SECONDS)),
            unauthorized: Family::default(),
        };
        registry.register(
            "vmcp_requests",
            "MCP messages, by method and what became of them",
            metrics.requests.clone(),
        );
        registry.register_with_unit(
            "vmcp_request_duration",
            "How long MCP messages took, from their last byte to the answer",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register(
            "vmcp_unauthorized",
            "HTTP requests of callers that were not let in, by reason",
            metrics.unauthorized.clone(),
        );
        metrics
    }

    pub(super) fn served(&self, method: Method, outcome: Outcome, took: Duration) {
        let answered = Answered {
            method: method.method,
            outcome: outcome.as_str(),
        };
        self.requests.get_or_create(&answered).inc();
        let duration = self.duration.get_or_create(&method);
        duration.observe(took.as_secs_f64());
    }

    pub(super) fn turned_away(&self, error: &Unauthorized) {
        let reason = match error {
            Unauthorized::Missing => "missing",
            Unauthorized::Invalid(_) => "invalid",
            Unauthorized::Unavailable(_) => "unavailable",
        };
        self.refused(reason);
    }

    /// Of a request that was not let in, for one of a few reasons.
    pub(super) fn refused(&self, reason: &'static str) {
        self.unauthorized.get_or_create(&Turned { reason }).inc();
    }
}
