//! What `/metrics` of a replica says of calls that ran without a decision, and of names that callers
//! choose.

use std::collections::BTreeMap;

use serde_json::json;
use tonic::Code;
use toolgate_tests::{Exposition, FakeLimiter, Manner, eventually};

use crate::{backend::Backend, replica::Replica};

const FAIL_OPEN: &str = "toolgate_client_fail_open_total";
const RESULTS: &str = "toolgate_client_checks_total";

/// A replica that asks a limiter which does as it is told.
struct Gateway {
    limiter: Option<FakeLimiter>,
    replica: Replica,
    backend: Backend,
}

impl Gateway {
    /// Connected, before the first call.
    async fn start(rest: &str) -> Self {
        let limiter = FakeLimiter::start(Manner::Allow);
        let backend = Backend::start().await;
        let yaml = format!(
            "
incomingAuth: {{type: anonymous}}
backends: [{{name: a, url: '{}'}}]
limiter: {{endpoint: 'http://{}', rememberDenials: 0s, {rest}}}
",
            backend.url,
            limiter.address()
        );
        let replica = Replica::start(&yaml).await;
        let gateway = Self {
            limiter: Some(limiter),
            replica,
            backend,
        };
        gateway.replica.anonymous().until_listed("a_echo").await;
        gateway.until_connected(true).await;
        gateway
    }

    async fn until_connected(&self, connected: bool) {
        eventually("the limiter is connected, or gone", async || {
            let exposition = scrape(&self.replica).await;
            let gauges = exposition.counted("toolgate_client_replica_connected");
            (gauges.is_empty() != connected).then_some(())
        })
        .await;
    }

    fn behave(&self, manner: Manner) -> &FakeLimiter {
        let limiter = self.limiter.as_ref().expect("it is there");
        limiter.behave(manner);
        limiter
    }

    /// Calls that run, whatever the limiter does.
    async fn call(&self, calls: usize) {
        let before = self.backend.calls().await;
        for _ in 0..calls {
            let outcome = self.replica.anonymous().call("a_echo", json!({})).await;
            outcome.expect("it runs");
        }
        assert_eq!(self.backend.calls().await - before, calls);
    }

    /// So many calls were allowed and the others have failed open, by these causes.
    async fn assert_failed_open(&self, allowed: usize, causes: &[(&str, usize)]) {
        self.assert_counted(FAIL_OPEN, "cause", causes).await;
        let failed = causes.iter().map(|(_, calls)| calls).sum();
        let results = [("allowed", allowed), ("fail_open", failed)];
        self.assert_counted(RESULTS, "result", &results).await;
        let exposition = scrape(&self.replica).await;
        let durations = exposition.value("toolgate_client_check_duration_seconds_count");
        assert_eq!(durations, count(allowed + failed));
    }

    /// Just these series of `metric` have counted just so much; the others are at zero.
    async fn assert_counted(&self, metric: &str, label: &str, expected: &[(&str, usize)]) {
        let exposition = scrape(&self.replica).await;
        let counted: BTreeMap<_, _> = exposition
            .counted(metric)
            .into_iter()
            .map(|(labels, count)| (labels.to_owned(), count))
            .collect();
        let expected: BTreeMap<_, _> = expected
            .iter()
            .map(|&(value, calls)| (format!("{{{label}=\"{value}\"}}"), count(calls)))
            .collect();
        assert_eq!(counted, expected, "{metric}");
    }
}

fn count(calls: usize) -> u64 {
    calls.try_into().expect("a few")
}

async fn scrape(replica: &Replica) -> Exposition {
    let address = replica.url.trim_start_matches("http://");
    let address = address.trim_end_matches("/mcp");
    Exposition::scrape(address).await.expect("metrics")
}

/// Calls under a limiter of this manner all fail open, each by the same cause.
async fn fail_open_by(cause: &str, manner: Manner, timeout: &str, calls: usize) {
    let gateway = Gateway::start(&format!("timeout: {timeout}")).await;
    gateway.call(3).await;
    gateway.behave(manner);
    gateway.call(calls).await;
    gateway.assert_failed_open(3, &[(cause, calls)]).await;
}

#[tokio::test]
async fn calls_without_a_decision_are_counted_by_why_there_was_none() {
    tokio::join!(
        // Fewer than open the breaker.
        fail_open_by("failed", Manner::Error(Code::Internal), "30s", 4),
        fail_open_by("malformed", Manner::Malformed, "30s", 4),
        // These say nothing against the limiter.
        fail_open_by("rejected", Manner::Error(Code::InvalidArgument), "30s", 7),
        fail_open_by("connection_lost", Manner::End(Code::Internal), "30s", 1),
        fail_open_by("timeout", Manner::Silent, "5s", 1),
    );
}

#[tokio::test]
async fn calls_that_no_limiter_could_be_asked_for_are_counted_as_unreachable() {
    let mut gateway = Gateway::start("timeout: 30s").await;
    gateway.call(3).await;
    gateway.limiter = None;
    gateway.until_connected(false).await;
    gateway.call(10).await;
    gateway.assert_failed_open(3, &[("unreachable", 10)]).await;
}

/// Probes are calls: what has reached the limiter has failed, and no other call has.
#[tokio::test]
async fn calls_that_the_breaker_keeps_back_are_counted_as_such() {
    let gateway = Gateway::start("timeout: 30s").await;
    gateway.call(3).await;
    let limiter = gateway.behave(Manner::Error(Code::Internal));
    let before = limiter.checks();
    gateway.call(20).await;
    let asked = usize::try_from(limiter.checks() - before).expect("a few");
    assert!((5..20).contains(&asked), "{asked} calls have reached it");
    let exposition = scrape(&gateway.replica).await;
    let of_cause = |cause| exposition.value(&format!("{FAIL_OPEN}{{cause=\"{cause}\"}}"));
    assert_eq!(of_cause("failed"), count(asked));
    // The connection is made anew after a probe; meanwhile there is none to keep back.
    let kept_back = of_cause("breaker_open") + of_cause("unreachable");
    assert_eq!(kept_back, count(20 - asked));
    assert!(of_cause("breaker_open") > 0);
}

#[tokio::test]
async fn calls_that_are_refused_without_a_decision_are_counted_apart() {
    let gateway = Gateway::start("timeout: 30s, onUnavailable: deny").await;
    gateway.call(2).await;
    gateway.behave(Manner::Deny);
    let caller = gateway.replica.anonymous();
    let refused = async |calls: usize| {
        for _ in 0..calls {
            let outcome = caller.call("a_echo", json!({})).await;
            outcome.expect_err("it does not run");
        }
    };
    refused(3).await;
    gateway.behave(Manner::Error(Code::Internal));
    refused(4).await;
    let results = [("allowed", 2), ("denied", 3), ("refused", 4)];
    gateway.assert_counted(RESULTS, "result", &results).await;
    let causes = [("failed", 4)];
    gateway
        .assert_counted("toolgate_client_refused_total", "cause", &causes)
        .await;
    gateway.assert_counted(FAIL_OPEN, "cause", &[]).await;
}

/// Names of tools, methods and users are the callers' to choose, and none is a label.
#[tokio::test]
async fn what_is_shown_grows_with_no_caller() {
    let gateway = Gateway::start("timeout: 30s").await;
    let caller = gateway.replica.anonymous();
    let ask = async |n: usize| {
        let unknown = format!("a_unknown-{n}");
        let (method, uri) = (format!("unknown/{n}"), format!("file:///unknown-{n}"));
        let outcomes = tokio::join!(
            caller.call(&unknown, json!({})),
            caller.ask(&method, json!({})),
            caller.ask("prompts/get", json!({"name": unknown})),
            caller.ask("resources/read", json!({"uri": uri})),
        );
        let (tool, asked, prompted, read) = outcomes;
        assert!(tool.is_ok_and(|result| result["isError"] == true));
        assert!(asked.is_err() && prompted.is_err() && read.is_err());
    };
    ask(0).await;
    gateway.call(1).await;
    let names = async || -> Vec<_> {
        let exposition = scrape(&gateway.replica).await;
        exposition.names().into_iter().map(str::to_owned).collect()
    };
    let before = names().await;
    for n in 1..=300 {
        ask(n).await;
    }
    assert_eq!(names().await, before);
    let unknown = before.iter().find(|series| series.contains("unknown"));
    assert_eq!(unknown, None);
}

/// What only a limiter service has and what only an embedded one has, together.
#[cfg(feature = "sdk")]
#[tokio::test]
async fn what_is_shown_is_what_is_documented() {
    let gateway = Gateway::start("timeout: 30s").await;
    gateway.call(1).await;
    let yaml = format!(
        "
incomingAuth: {{type: oidc, oidc: {{issuer: '{}', audience: vmcp}}}}
backends: [{{name: a, url: '{}'}}]
limiter: embedded
rateLimiting: {{global: {{maxTokens: 5, refillPeriod: 1h}}}}
",
        crate::issuer::Issuer::start().await.url,
        gateway.backend.url
    );
    let embedded = Replica::start(&yaml).await;
    // Somebody without a token, who is not let in.
    let answer = crate::caller::http().post(&embedded.url).send().await;
    assert_eq!(answer.expect("an answer").status(), 401);

    let mut parsed = scrape(&gateway.replica)
        .await
        .parsed()
        .expect("OpenMetrics");
    for (name, metric) in scrape(&embedded).await.parsed().expect("OpenMetrics") {
        // Of two that have no series the labels are not known.
        let known = parsed.entry(name).or_insert_with(|| metric.clone());
        known.labels.extend(metric.labels);
    }
    assert_eq!(parsed, toolgate_tests::documented("Metrics of `vmcp`"));
}
