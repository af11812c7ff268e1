//! How backends do: whether they are up, what became of requests to them, and how long they took.

use std::{fmt, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::Counter, gauge::Gauge},
    registry::{Registry, Unit},
};
use tokio::{sync::watch, time::Instant};
use toolgate_telemetry::{TracedHistogram, counters, gauges, observe};

use super::{BackendName, connection::State};

/// Upper bounds in seconds; a request to a backend has a minute by default.
const REQUEST_SECONDS: [f64; 15] = [
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// What became of one request to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A result, a tool's `isError` too.
    Ok,
    /// The backend's own JSON-RPC error.
    Error,
    /// The connection broke, or the answer could not be used.
    Failed,
    /// No answer came in time.
    Timeout,
    /// Its caller hung up before the answer.
    Cancelled,
    /// Not sent: the backend is down, or too many are in flight.
    Unavailable,
}

impl Outcome {
    const ALL: [(Self, &str); 6] = [
        (Self::Ok, "ok"),
        (Self::Error, "error"),
        (Self::Failed, "failed"),
        (Self::Timeout, "timeout"),
        (Self::Cancelled, "cancelled"),
        (Self::Unavailable, "unavailable"),
    ];
}

/// The instruments of one backend; clones are the same ones.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    outcomes: [Counter; Outcome::ALL.len()],
    duration: TracedHistogram,
    sessions: Gauge,
}

impl Metrics {
    pub(super) fn new() -> Self {
        Self {
            outcomes: Default::default(),
            duration: TracedHistogram::new(REQUEST_SECONDS.into_iter()),
            sessions: Gauge::default(),
        }
    }

    /// So many users have a session of their own.
    pub(super) fn sessions(&self, open: usize) {
        self.sessions.set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    /// A request that was not sent.
    pub(super) fn not_sent(&self) {
        self.outcomes[Outcome::Unavailable as usize].inc();
    }

    /// A request that is sent now. Unless it is told what becomes of it, it was cancelled.
    pub(super) fn send(&self) -> Sent<'_> {
        Sent {
            metrics: self,
            since: Instant::now(),
            outcome: Outcome::Cancelled,
        }
    }

    fn sent(&self, outcome: Outcome, took: Duration) {
        self.outcomes[outcome as usize].inc();
        observe(&self.duration, took);
    }
}

/// A request in flight, counted when it is dropped.
#[derive(Debug)]
pub(super) struct Sent<'a> {
    metrics: &'a Metrics,
    since: Instant,
    outcome: Outcome,
}

impl Sent<'_> {
    /// It has ended so.
    pub(super) fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        self.metrics.sent(self.outcome, self.since.elapsed());
    }
}

/// Shows the metrics of all backends.
#[derive(Debug)]
pub(super) struct Backends(pub(super) Vec<(BackendName, watch::Receiver<State>, Metrics)>);

impl Backends {
    pub(super) fn register(self, registry: &mut Registry) {
        registry.register_collector(Box::new(self));
    }
}

impl Collector for Backends {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        gauges(
            &mut encoder,
            "vmcp_backend_up",
            "Whether a backend is connected and has listed what it offers",
            self.0.iter().map(|(name, state, _)| {
                let is_up = matches!(*state.borrow(), State::Up(_));
                ([("backend", name.as_str())], i64::from(is_up))
            }),
        )?;
        gauges(
            &mut encoder,
            "vmcp_backend_sessions",
            "Users with a session of their own at a backend",
            self.0
                .iter()
                .map(|(name, _, metrics)| ([("backend", name.as_str())], metrics.sessions.get())),
        )?;
        counters(
            &mut encoder,
            "vmcp_backend_requests",
            "Requests for a backend, by what became of them",
            self.0.iter().flat_map(|(name, _, metrics)| {
                Outcome::ALL.map(|(outcome, label)| {
                    let labels = [("backend", name.as_str()), ("outcome", label)];
                    (labels, metrics.outcomes[outcome as usize].get())
                })
            }),
        )?;
        let mut duration = encoder.encode_descriptor(
            "vmcp_backend_request_duration",
            "How long requests to a backend took, whatever became of them.",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for (name, _, metrics) in &self.0 {
            let labels = [("backend", name.as_str())];
            metrics.duration.encode(duration.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;
    use toolgate_telemetry::exposition;

    use super::{super::connection::Down, *};

    #[test]
    fn each_backend_shows_its_state_and_each_outcome_from_the_start() {
        let (_, down) = watch::channel(State::Down(Down {
            reason: "gone".into(),
            lists: None,
            since: Instant::now(),
            lost: None,
        }));
        let (a, b) = (Metrics::new(), Metrics::new());
        let backends = Backends(vec![
            ("a".parse().unwrap(), down.clone(), a.clone()),
            ("b".parse().unwrap(), down, b),
        ]);
        let mut registry = Registry::default();
        backends.register(&mut registry);
        for (place, (outcome, _)) in Outcome::ALL.into_iter().enumerate() {
            for _ in 0..=place {
                a.sent(outcome, Duration::from_millis(3));
            }
        }
        a.not_sent();

        let text = exposition(&registry).unwrap();
        for line in [
            "vmcp_backend_up{backend=\"a\"} 0",
            "vmcp_backend_requests_total{backend=\"a\",outcome=\"ok\"} 1",
            "vmcp_backend_requests_total{backend=\"a\",outcome=\"error\"} 2",
            "vmcp_backend_requests_total{backend=\"a\",outcome=\"failed\"} 3",
            "vmcp_backend_requests_total{backend=\"a\",outcome=\"timeout\"} 4",
            "vmcp_backend_requests_total{backend=\"a\",outcome=\"cancelled\"} 5",
            "vmcp_backend_requests_total{backend=\"a\",outcome=\"unavailable\"} 7",
            "vmcp_backend_requests_total{backend=\"b\",outcome=\"ok\"} 0",
            "vmcp_backend_request_duration_seconds_count{backend=\"a\"} 21",
            "vmcp_backend_request_duration_seconds_bucket{le=\"0.0025\",backend=\"a\"} 0",
            "vmcp_backend_request_duration_seconds_bucket{le=\"0.005\",backend=\"a\"} 21",
        ] {
            assert!(text.lines().any(|is| is == line), "{line}\n{text}");
        }
    }
}
