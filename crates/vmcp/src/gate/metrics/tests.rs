use std::{sync::Mutex, time::Duration};

use async_trait::async_trait;
use toolgate_limit::{
    Answer, Check, Decision, Denial, Identity, Limit, LimiterError, OperationKind, Quota, Scope,
    ServerId, StoreError,
};
use toolgate_telemetry::exposition;

use super::*;
use crate::{Gate, VmcpError};

/// Gives its answers one by one, from the last to the first.
#[derive(Debug)]
struct Script(Mutex<Vec<Result<Answer, LimiterError>>>);

#[async_trait]
impl Limiter for Script {
    async fn check(&self, _: Check) -> Result<Answer, LimiterError> {
        self.0.lock().unwrap().pop().expect("an answer")
    }

    async fn peek(&self, check: Check) -> Result<Answer, LimiterError> {
        self.check(check).await
    }
}

fn server() -> ServerId {
    "default/research".parse().unwrap()
}

fn denied() -> Answer {
    let quota = Quota::new(1, Duration::from_mins(1)).unwrap();
    let limit = Limit::new(server(), None, Scope::PerUser, quota);
    let denial = Denial {
        limit: limit.into(),
        retry_after: None,
        cost: 1,
    };
    Answer {
        decision: Decision::Denied(denial),
        unlimited: false,
        ..Answer::unlimited()
    }
}

/// Three allowed, two denied, and six on which nothing was decided.
fn script() -> Vec<Result<Answer, LimiterError>> {
    let after = Duration::from_millis(50);
    let endpoint = || "http://127.0.0.1:1".into();
    let mut script = vec![
        Err(LimiterError::Timeout { after }),
        Err(LimiterError::Timeout { after }),
        Err(LimiterError::Timeout { after }),
        Err(LimiterError::Unreachable {
            endpoint: endpoint(),
        }),
        Err(LimiterError::BreakerOpen {
            endpoint: endpoint(),
        }),
        Err(LimiterError::Store(StoreError::Timeout { after })),
    ];
    script.extend((0..3).map(|_| Ok(Answer::unlimited())));
    script.extend((0..2).map(|_| Ok(denied())));
    script
}

/// Makes a call for each line of the script, with subjects and names that are all different, and
/// shows what the gate then says of itself.
async fn shown(script: Vec<Result<Answer, LimiterError>>, on_unavailable: OnUnavailable) -> String {
    let calls = script.len();
    let limiter = Arc::new(Script(Mutex::new(script)));
    let gate = Gate::new(server(), limiter, on_unavailable);
    let mut registry = Registry::default();
    gate.register(&mut registry);
    for call in 0..calls {
        let identity = Identity::new(format!("user-{call}")).unwrap();
        let tool = format!("tool-{call}");
        let admitted = gate.admit(&identity, OperationKind::Tool, &tool).await;
        assert!(matches!(
            admitted,
            Ok(()) | Err(VmcpError::Denied(_) | VmcpError::Undecided)
        ));
    }
    exposition(&registry).unwrap()
}

fn assert_lines(text: &str, expected: &[&str]) {
    for line in expected {
        assert!(text.lines().any(|is| is == *line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn what_became_of_calls_is_counted_exactly() {
    let text = shown(script(), OnUnavailable::Allow).await;
    assert_lines(
        &text,
        &[
            r#"toolgate_client_checks_total{result="allowed"} 3"#,
            r#"toolgate_client_checks_total{result="denied"} 2"#,
            r#"toolgate_client_checks_total{result="fail_open"} 6"#,
            r#"toolgate_client_checks_total{result="refused"} 0"#,
            r#"toolgate_client_fail_open_total{cause="timeout"} 3"#,
            r#"toolgate_client_fail_open_total{cause="unreachable"} 1"#,
            r#"toolgate_client_fail_open_total{cause="breaker_open"} 1"#,
            r#"toolgate_client_fail_open_total{cause="store"} 1"#,
            r#"toolgate_client_fail_open_total{cause="overloaded"} 0"#,
            r#"toolgate_client_refused_total{cause="timeout"} 0"#,
            "toolgate_client_unnamed_checks_total 3",
            "# TYPE toolgate_client_check_duration_seconds histogram",
            "# UNIT toolgate_client_check_duration_seconds seconds",
            "toolgate_client_check_duration_seconds_count 11",
        ],
    );
}

#[tokio::test]
async fn calls_that_are_refused_without_a_decision_did_not_fail_open() {
    let text = shown(script(), OnUnavailable::Deny).await;
    assert_lines(
        &text,
        &[
            r#"toolgate_client_checks_total{result="allowed"} 3"#,
            r#"toolgate_client_checks_total{result="denied"} 2"#,
            r#"toolgate_client_checks_total{result="fail_open"} 0"#,
            r#"toolgate_client_checks_total{result="refused"} 6"#,
            r#"toolgate_client_fail_open_total{cause="timeout"} 0"#,
            r#"toolgate_client_refused_total{cause="timeout"} 3"#,
            r#"toolgate_client_refused_total{cause="store"} 1"#,
        ],
    );
}

#[tokio::test]
async fn no_call_adds_a_series() {
    let series = |text: String| text.lines().count();
    let unused = series(shown(Vec::new(), OnUnavailable::Allow).await);
    let used = series(shown(script(), OnUnavailable::Allow).await);
    let busy = (0..1_000).map(|_| Ok(Answer::unlimited())).collect();
    let busy = series(shown(busy, OnUnavailable::Allow).await);
    assert_eq!((used, busy), (unused, unused));
}

#[derive(Debug)]
struct Known(Vec<ReplicaStatus>);

impl Collector for Known {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        show(&self.0, encoder)
    }
}

#[test]
fn each_limiter_replica_shows_its_connection_and_its_breaker() {
    let replica = |endpoint: &str, connected, in_flight, breaker| ReplicaStatus {
        endpoint: endpoint.into(),
        connected,
        in_flight,
        breaker,
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Known(vec![
        replica("http://10.0.0.1:7070", true, 7, BreakerState::Closed),
        replica("http://10.0.0.2:7070", false, 0, BreakerState::Open),
    ])));
    let text = exposition(&registry).unwrap();
    assert_lines(
        &text,
        &[
            r#"toolgate_client_replica_connected{endpoint="http://10.0.0.1:7070"} 1"#,
            r#"toolgate_client_replica_connected{endpoint="http://10.0.0.2:7070"} 0"#,
            r#"toolgate_client_replica_in_flight{endpoint="http://10.0.0.1:7070"} 7"#,
            r#"toolgate_client_breaker_state{endpoint="http://10.0.0.1:7070",state="closed"} 1"#,
            r#"toolgate_client_breaker_state{endpoint="http://10.0.0.1:7070",state="open"} 0"#,
            r#"toolgate_client_breaker_state{endpoint="http://10.0.0.2:7070",state="closed"} 0"#,
            r#"toolgate_client_breaker_state{endpoint="http://10.0.0.2:7070",state="open"} 1"#,
            r#"toolgate_client_breaker_state{endpoint="http://10.0.0.2:7070",state="probing"} 0"#,
        ],
    );
}
