use std::{num::NonZeroU32, time::Duration};

use toolgate_limit::{Answer, Check, Identity, StoreError, SystemClock, TraceContext};

use super::*;
use crate::observe::{Decided, Observer as _};

fn check(trace: Option<TraceContext>) -> Check {
    Check {
        server: "no/policy".parse().expect("valid"),
        identity: Identity::new("alice".to_owned()).expect("valid"),
        operation: None,
        cost: NonZeroU32::MIN,
        trace: trace.map(Arc::new),
    }
}

fn trace(trace_id: u128, is_sampled: bool) -> TraceContext {
    TraceContext {
        trace_id,
        span_id: 1,
        is_sampled,
        state: Arc::default(),
    }
}

fn counters() -> Counters {
    let policies = Arc::new(Registry::new(Arc::new(SystemClock::new())));
    Metrics::new(policies).counters().clone()
}

fn lines(metric: &str, counters: &Counters) -> Vec<String> {
    let mut registry = Exposed::default();
    registry.register_collector(Box::new(counters.clone()));
    let text = toolgate_telemetry::exposition(&registry).expect("it can be shown");
    let of_metric = |line: &&str| line.starts_with(metric);
    text.lines().filter(of_metric).map(str::to_owned).collect()
}

#[test]
fn checks_of_a_group_are_observed_one_by_one_and_lead_to_a_sampled_trace() {
    let counters = counters();
    let (one, other) = (counters.tally_of_worker(), counters.tally_of_worker());
    let checks = [
        check(None),
        check(Some(trace(0xa, false))),
        check(Some(trace(0xb, true))),
        check(None),
    ];
    let answers = [
        Ok(Answer::unlimited()),
        Ok(Answer::unlimited()),
        Ok(Answer::unlimited()),
        Err(StoreError::Overloaded),
    ];
    for (tally, millis) in [(&one, 125), (&other, 500)] {
        tally.decided(&Decided {
            checks: &checks,
            answers: &answers,
            took: Duration::from_millis(millis),
        });
    }
    let mut metrics = toolgate_telemetry::Metrics::new(Exposed::default());
    metrics.histogram_in_seconds("took", "How long", move || counters.durations());
    let text = metrics.exposition().expect("it can be shown");
    assert!(text.contains("took_seconds_count 6\n"), "{text}");
    assert!(text.contains("took_seconds_sum 1.875\n"), "{text}");
    let sampled = "took_seconds_bucket{le=\"0.25\"} 3 # {trace_id=\"0000000000000000000000000000000b\"} 0.125 ";
    assert!(text.contains(sampled), "{text}");
    assert!(text.contains("le=\"0.1\"} 0\n"), "{text}");
    assert!(text.contains("le=\"1.0\"} 6 # {"), "{text}");
}

/// The slowest checks of all were missing where one looks for slow checks.
#[test]
fn checks_that_time_out_or_are_given_up_have_a_duration() {
    let counters = counters();
    let tally = counters.tally_of_worker();
    let late = || StoreError::Timeout {
        after: Duration::from_millis(40),
    };
    let answers = [
        Err(late()),
        Err(StoreError::Partial {
            part: "one node".into(),
            error: Box::new(late()),
        }),
        Err(StoreError::Overloaded),
    ];
    tally.decided(&Decided {
        checks: &[check(None), check(None), check(None)],
        answers: &answers,
        took: Duration::from_millis(40),
    });
    tally.given_up(3, Duration::from_millis(500));
    let mut metrics = toolgate_telemetry::Metrics::new(Exposed::default());
    metrics.histogram_in_seconds("took", "How long", move || counters.durations());
    let text = metrics.exposition().expect("it can be shown");
    assert!(text.contains("took_seconds_count 5\n"), "{text}");
    assert!(
        text.contains("took_seconds_bucket{le=\"0.25\"} 2\n"),
        "{text}"
    );
}

#[test]
fn what_workers_have_counted_is_one_series() {
    let counters = counters();
    for _ in 0..3 {
        let worker = counters.tally_of_worker();
        worker.decided(&Decided {
            checks: &[check(None)],
            answers: &[Ok(Answer::unlimited())],
            took: Duration::ZERO,
        });
        worker.errors.count(Code::InvalidArgument);
    }
    assert_eq!(
        lines("toolgate_checks_total", &counters),
        [
            "toolgate_checks_total{server=\"other\",decision=\"unlimited\",scope=\"\",operation=\"server\"} 3"
        ]
    );
    let failed = lines(
        "toolgate_check_errors_total{code=\"INVALID_ARGUMENT\"}",
        &counters,
    );
    assert_eq!(failed.len(), 1);
    assert!(failed[0].ends_with(" 3"), "{failed:?}");
    assert_eq!(lines("toolgate_check_errors_total{", &counters).len(), 16);
}
