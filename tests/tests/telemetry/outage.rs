//! A collector that is away, refuses, is slow or hangs: nobody waits for it.

use std::{net::TcpListener, time::Duration};

use nix::sys::signal::Signal;
use tokio::time::Instant;
use tonic::Code;
use toolgate_tests::{Collector, Limiter, PolicyFile, Reception, of_user};

use crate::gateway::Gateway;

const FREE: &str = "global: {maxTokens: 1000000, refillPeriod: 24h}";

/// Who waited for the collector would wait for an hour. The end takes 3 s of it at most, and the
/// drain what calls take.
const AT_ONCE: Duration = Duration::from_secs(40);

/// Exports go out all the time.
fn busy(endpoint: &str) -> [(&str, &str); 7] {
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "3600000"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "3600000"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "20"),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ]
}

/// Calls go through limiter and gateway, which then end, as if there were no collector.
async fn nobody_waits(endpoint: &str) {
    let variables = busy(endpoint);
    let policies = PolicyFile::of_spec(FREE).expect("a policy");
    let mut limiter = Limiter::start_with(&policies.path(), [""; 0], |command| {
        command.envs(variables);
    })
    .await
    .expect("a limiter");
    let rest = format!(
        "limiter: {{endpoint: '{}', timeout: 30s}}",
        limiter.endpoint()
    );
    let gateway = Gateway::start(&rest, &variables).await;
    let mut client = limiter.client().await.expect("a connection");
    for _ in 0..200 {
        let began = Instant::now();
        client.check(of_user("alice")).await.expect("an answer");
        let answer = gateway.call("a_echo", &[]).await;
        assert!(answer.status().is_success());
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    }
    let began = Instant::now();
    gateway.stop().await;
    limiter.signal(Signal::SIGTERM).expect("told");
    assert!(limiter.wait().await.expect("it ends").success());
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
}

#[tokio::test]
async fn nobody_waits_for_a_collector_that_hangs() {
    let collector = Collector::start();
    collector.receive(Reception::Hang);
    nobody_waits(collector.endpoint()).await;
}

#[tokio::test]
async fn nobody_waits_for_a_collector_that_is_slow() {
    let collector = Collector::start();
    collector.receive(Reception::Slow(Duration::from_hours(1)));
    nobody_waits(collector.endpoint()).await;
}

#[tokio::test]
async fn nobody_waits_for_a_collector_that_is_away() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    // Connections are taken by the system and read by nobody.
    nobody_waits(&endpoint).await;
    drop(listener);
    nobody_waits(&endpoint).await;
}

#[tokio::test]
async fn that_nothing_is_taken_is_said_once_and_so_is_that_it_is_again() {
    let collector = Collector::start();
    collector.receive(Reception::Refuse(Code::Unavailable));
    let gateway = Gateway::start("", &busy(collector.endpoint())).await;
    collector.exports_of_metrics(5).await;
    collector.receive(Reception::Take);
    let metric = collector.metric("a metric", |_| true).await;
    assert_eq!(metric.resource["service.name"], "vmcp");
    let log = gateway.stop().await;
    assert_eq!(
        log.matches("metrics cannot be exported").count(),
        1,
        "{log}"
    );
    assert_eq!(
        log.matches("metrics are exported again").count(),
        1,
        "{log}"
    );
    assert!(log.contains("Unavailable"), "{log}");
}
