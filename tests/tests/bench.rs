//! `toolgate bench` against limiters: its counts add up, its bounds hold, and it says so in JSON.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::{path::Path, process::Output};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::process::Command;
use toolgate_proto::pb::ListBucketsRequest;
use toolgate_tests::{Limiter, PolicyFile, RedisServer, eventually, manifest, of_user, toolgate};

const AMPLE: &str = "{maxTokens: 2147483647, refillPeriod: 1s}";

async fn limiter(spec: &str) -> Limiter {
    let no_more: [&str; 0] = [];
    Limiter::of_spec(spec, no_more).await.expect("a limiter")
}

/// Four buckets a check, for tools 0 and 1.
fn four_buckets(quota: &str) -> String {
    let both = format!("global: {quota}, perUser: {quota}");
    format!("{both}, tools: [{{name: tool-0, {both}}}, {{name: tool-1, {both}}}]")
}

async fn bench(endpoint: &str, arguments: &[&str]) -> Output {
    let binary: &Path = toolgate().expect("a binary");
    Command::new(binary)
        .args(["bench", "--server", "test/server", "--endpoint", endpoint])
        .args(["--timeout", "30s"])
        .args(arguments)
        .output()
        .await
        .expect("it runs")
}

/// The report of a run that ends well.
async fn report(endpoint: &str, arguments: &[&str]) -> Value {
    let output = bench(endpoint, &[arguments, &["--output", "json"]].concat()).await;
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

fn number(report: &Value, path: &str) -> u64 {
    let found = report.pointer(path).and_then(Value::as_u64);
    found.unwrap_or_else(|| panic!("{path} in {report}"))
}

fn float(report: &Value, path: &str) -> f64 {
    let found = report.pointer(path).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("{path} in {report}"))
}

/// All that was sent was allowed.
fn adds_up(report: &Value) {
    let sent = number(report, "/checks/sent");
    assert!(sent > 0, "{report}");
    for path in ["/checks/answered", "/checks/allowed"] {
        assert_eq!(number(report, path), sent, "{path} in {report}");
    }
    for path in ["/checks/denied", "/checks/degraded", "/checks/unanswered"] {
        assert_eq!(number(report, path), 0, "{path} in {report}");
    }
    let quantiles = ["min", "p50", "p90", "p99", "p999", "p9999", "max"];
    let latency = quantiles.map(|name| float(report, &format!("/latencyMicros/{name}")));
    assert!(latency[0] > 0.0 && latency.is_sorted(), "{latency:?}");
    assert!(float(report, "/generatorCpuMicrosPerCheck") > 0.0);
}

#[tokio::test]
async fn a_closed_loop_counts_every_check_by_call_and_by_stream() {
    let limiter = limiter(&four_buckets(AMPLE)).await;
    for mode in ["unary", "stream"] {
        let arguments = ["--mode", mode, "--users", "50", "--tools", "2"];
        let spread = ["--keys", "zipf:1.2", "--connections", "3", "--threads", "2"];
        let time = [
            "--in-flight",
            "8",
            "--duration",
            "300ms",
            "--warm-up",
            "50ms",
        ];
        let arguments = [&arguments[..], &spread, &time].concat();
        let report = report(limiter.endpoint(), &arguments).await;
        adds_up(&report);
        assert!(number(&report, "/warmUpChecks/sent") > 0);
        assert_eq!(report["load"]["mode"], mode);
        assert_eq!(report["load"]["rate"], Value::Null);

        // All allowed checks have paid the server's own bucket, the warm-up's too.
        let limits = report["admission"]["limits"].as_array().expect("a list");
        let kinds: Vec<_> = limits.iter().map(|limit| &limit["kind"]).collect();
        assert_eq!(
            kinds,
            ["global", "tool global", "per user", "tool per user"]
        );
        let allowed = number(&report, "/checks/allowed") + number(&report, "/warmUpChecks/allowed");
        assert_eq!(number(&limits[0], "/worst/admitted"), allowed);
        assert_eq!(number(&limits[1], "/buckets"), 2);
        assert_eq!(number(&report, "/admission/over"), 0);
    }
}

#[tokio::test]
async fn an_open_loop_sends_as_many_as_the_rate_says() {
    let limiter = limiter(&four_buckets(AMPLE)).await;
    for mode in ["unary", "stream"] {
        let arguments = ["--mode", mode, "--rate", "2000", "--connections", "2"];
        let time = ["--duration", "500ms", "--warm-up", "100ms", "--tools", "2"];
        let report = report(limiter.endpoint(), &[&arguments[..], &time].concat()).await;
        adds_up(&report);
        // However slow the machine is: what was meant to go was sent, or is told.
        let sent = number(&report, "/checks/sent");
        assert_eq!(sent + number(&report, "/behind/unsent"), 1_000, "{report}");
        assert_eq!(number(&report, "/warmUpChecks/sent"), 200);
        assert!(float(&report, "/behind/p99Micros") <= float(&report, "/behind/maxMicros"));
    }
}

#[tokio::test]
async fn a_global_limit_admits_its_capacity_and_no_more() {
    let redis = RedisServer::start().await.expect("Redis");
    let policies = PolicyFile::of_spec("global: {maxTokens: 500, refillPeriod: 24h}");
    let policies = policies.expect("a policy");
    let store = ["--store", &redis.url(), "--store-timeout", "20s"];
    let first = Limiter::start(&policies.path(), store).await;
    let second = Limiter::start(&policies.path(), store).await;
    let (first, second) = (first.expect("a limiter"), second.expect("a limiter"));
    let both = format!("{},{}", first.endpoint(), second.endpoint());

    let time = ["--duration", "500ms", "--warm-up", "0s", "--cost", "2"];
    let report = report(&both, &[&time[..], &["--connections", "4"]].concat()).await;
    // 500 a day refill none in a few seconds.
    assert_eq!(number(&report, "/checks/allowed"), 250);
    assert_eq!(
        number(&report, "/checks/denied") + 250,
        number(&report, "/checks/answered")
    );
    let worst = &report["admission"]["limits"][0]["worst"];
    assert_eq!(
        (number(worst, "/admitted"), number(worst, "/bound")),
        (500, 500)
    );
    assert!((float(&report, "/admission/worstRatio") - 1.0).abs() < 1e-9);
}

#[tokio::test]
async fn a_limit_that_refills_admits_what_its_bound_says() {
    let limiter = limiter("perUser: {maxTokens: 100, refillPeriod: 100ms}").await;
    let arguments = ["--users", "3", "--tools", "0", "--warm-up", "0s"];
    let report = report(
        limiter.endpoint(),
        &[&arguments[..], &["--duration", "1s"]].concat(),
    )
    .await;
    let limit = &report["admission"]["limits"][0];
    assert_eq!(
        (&limit["kind"], number(limit, "/buckets")),
        (&"per user".into(), 3)
    );
    let (admitted, bound) = (
        number(limit, "/worst/admitted"),
        number(limit, "/worst/bound"),
    );
    let span = float(&report, "/admission/spanSeconds");
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole tokens"
    )]
    let expected = 100 + (span * 1_000.0) as u64;
    assert!(bound.abs_diff(expected) <= 1, "{bound} {expected}");
    // The bucket was full when the first check came; that it refills shows in what passed since.
    assert!(100 < admitted && admitted <= bound, "{report}");
}

/// Two limiters with a memory each have a bucket each, which a gateway sees as twice the limit.
#[tokio::test]
async fn a_bucket_over_its_bound_is_told_and_is_an_error() {
    let spec = "global: {maxTokens: 100, refillPeriod: 24h}";
    let (first, second) = (limiter(spec).await, limiter(spec).await);
    let both = format!("{},{}", first.endpoint(), second.endpoint());
    let time = [
        "--duration",
        "300ms",
        "--warm-up",
        "0s",
        "--connections",
        "2",
    ];
    let output = bench(&both, &time).await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("admitted    global: 200 of 100 (2.000)"),
        "{text}"
    );
    assert!(text.contains("NOT KEPT by 1 buckets"), "{text}");
}

/// Answers that allow name no buckets then, as those to gateways.
#[tokio::test]
async fn without_buckets_in_answers_admission_is_held_against_the_policy() {
    let limiter = limiter(&four_buckets(AMPLE)).await;
    let arguments = ["--omit-buckets", "--users", "50", "--tools", "3"];
    let time = ["--duration", "300ms", "--warm-up", "50ms"];
    let report = report(limiter.endpoint(), &[&arguments[..], &time].concat()).await;
    adds_up(&report);
    let limits = report["admission"]["limits"].as_array().expect("a list");
    let allowed = number(&report, "/checks/allowed") + number(&report, "/warmUpChecks/allowed");
    assert_eq!(number(&limits[0], "/worst/admitted"), allowed);
    // The third tool has no limits of its own.
    let buckets = limits.iter().map(|limit| number(limit, "/buckets"));
    assert_eq!(buckets.collect::<Vec<_>>(), [1, 2, 50, 100]);
    assert_eq!(report["admission"]["policyUnread"], Value::Null);
}

#[tokio::test]
async fn without_buckets_in_answers_a_bucket_over_its_bound_is_told() {
    let spec = "global: {maxTokens: 100, refillPeriod: 24h}";
    let (first, second) = (limiter(spec).await, limiter(spec).await);
    let both = format!("{},{}", first.endpoint(), second.endpoint());
    let arguments = ["--omit-buckets", "--connections", "2"];
    let time = ["--duration", "300ms", "--warm-up", "0s"];
    let output = bench(&both, &[&arguments[..], &time].concat()).await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("admitted    global: 200 of 100 (2.000)"),
        "{text}"
    );
}

#[tokio::test]
async fn without_buckets_in_answers_and_without_a_policy_it_says_that_nothing_is_known() {
    let limiter = limiter(&format!("global: {AMPLE}")).await;
    let arguments = ["--omit-buckets", "--server", "test/another"];
    let time = ["--duration", "100ms", "--warm-up", "0s"];
    let output = Command::new(toolgate().expect("a binary"))
        .args([
            "bench",
            "--endpoint",
            limiter.endpoint(),
            "--timeout",
            "30s",
        ])
        .args(arguments)
        .args(time)
        .output()
        .await
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("bounds      not known: "), "{text}");
    assert!(text.contains("NOT_FOUND"), "{text}");
}

#[tokio::test]
async fn checks_that_the_limiter_refuses_to_decide_are_counted_by_code() {
    let nowhere = "redis+unix:///nowhere/redis.sock";
    // A check that waits long, as on a busy machine, would be refused as one too many.
    let no_redis = [
        ["--store", nowhere],
        ["--outage", "unavailable"],
        ["--store-timeout", "50s"],
    ];
    let no_redis = no_redis.as_flattened();
    let policies = PolicyFile::new(&manifest("server", &format!("global: {AMPLE}")));
    let policies = policies.expect("a policy");
    let limiter = Limiter::start(&policies.path(), no_redis.iter().copied())
        .await
        .expect("a limiter");
    for mode in ["unary", "stream"] {
        let arguments = ["--mode", mode, "--duration", "200ms", "--warm-up", "0s"];
        let report = report(limiter.endpoint(), &arguments).await;
        let sent = number(&report, "/checks/sent");
        assert!(sent > 0);
        assert_eq!(report["checks"]["failed"], json!({ "UNAVAILABLE": sent }));
        assert_eq!(number(&report, "/checks/answered"), 0);
        assert_eq!(report["latencyMicros"], Value::Null);
        assert_eq!(report["admission"]["worstRatio"], Value::Null);
    }
}

/// Killed under load. What was on its way is counted, and the run ends.
#[tokio::test]
async fn a_limiter_that_goes_away_ends_no_run_and_is_counted() {
    for mode in ["unary", "stream"] {
        let mut limiter = limiter(&format!(
            "global: {AMPLE}, perUser: {{maxTokens: 100, refillPeriod: 24h}}"
        ))
        .await;
        let endpoint = limiter.endpoint().to_owned();
        let arguments = [
            "--mode",
            mode,
            "--users",
            "1",
            "--duration",
            "6s",
            "--warm-up",
            "0s",
        ];
        let run = tokio::spawn(async move { report(&endpoint, &arguments).await });
        eventually("checks come", async || {
            let mut admin = limiter.admin().await.ok()?;
            let buckets = admin.list_buckets(ListBucketsRequest {
                server: "test/server".to_owned(),
                identity: of_user("user-0").identity,
            });
            let buckets = buckets.await.ok()?.into_inner().buckets;
            (buckets.first()?.remaining == 0).then_some(())
        })
        .await;
        limiter.signal(Signal::SIGKILL).expect("it runs");
        let report = run.await.expect("it ends");
        let counts = &report["checks"];
        let failed = counts["failed"].as_object().expect("codes");
        let failed: u64 = failed.values().filter_map(Value::as_u64).sum();
        assert!(failed > 0, "{mode}: {report}");
        let answered = number(&report, "/checks/answered");
        let unanswered = number(&report, "/checks/unanswered");
        assert_eq!(
            number(&report, "/checks/sent"),
            answered + failed + unanswered
        );
        // All 100 have paid. Of the last ones, as many as were on their way, the answers may be lost:
        // on a busy machine that once was so.
        let allowed = number(&report, "/checks/allowed");
        assert!((100 - 64..=100).contains(&allowed), "{mode}: {report}");
    }
}

#[tokio::test]
async fn without_a_limiter_it_says_so() {
    let output = bench("unix:///nowhere/toolgate.sock", &["--duration", "1s"]).await;
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("nothing listens there"), "{error}");
}
