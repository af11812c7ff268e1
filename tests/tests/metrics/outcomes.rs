//! Decisions: each is counted once, for the operation that was checked or the limit that refused.

use toolgate_proto::pb::CheckRequest;
use toolgate_tests::{Limiter, PolicyFile, manifest};

use crate::{
    asks::{check, prompt, resource, stream, tool},
    assert_counted, scrape,
};

/// Nobody comes near the limits that are not meant.
fn policies() -> PolicyFile {
    let a_day = |tokens: u32| format!("{{maxTokens: {tokens}, refillPeriod: 24h}}");
    let (one, two) = (a_day(1), a_day(2));
    let spec = format!(
        "tools: [{{name: shared, global: {two}}}, {{name: own, perUser: {one}}}], \
         prompts: [{{name: weekly, global: {two}}}], \
         resources: [{{name: 'file:///a', global: {one}}}, {{name: 'file:///b', perUser: {one}}}]"
    );
    let own = format!("global: {}, perUser: {}, {spec}", a_day(14), a_day(8));
    let manifests = [
        manifest("server", &own),
        manifest("tools", &spec),
        manifest("shadow", &format!("mode: Shadow, {own}")),
    ];
    PolicyFile::new(&manifests.join("---\n")).expect("a file")
}

/// One run of checks, as far as the limits of `policies` let it.
fn run(server: &str) -> [CheckRequest; 17] {
    [
        // 2 allowed and 1 refused by the tool's shared limit.
        check(server, "alice", tool("shared")),
        check(server, "bob", tool("shared")),
        check(server, "carol", tool("shared")),
        // For each of two users 1 allowed and 1 refused by the tool's own limit.
        check(server, "alice", tool("own")),
        check(server, "alice", tool("own")),
        check(server, "bob", tool("own")),
        check(server, "bob", tool("own")),
        // 2 allowed and 1 refused by the prompt's limit.
        check(server, "alice", prompt("weekly")),
        check(server, "alice", prompt("weekly")),
        check(server, "alice", prompt("weekly")),
        // 1 of each allowed, and 1 of each refused.
        check(server, "alice", resource("file:///a")),
        check(server, "alice", resource("file:///a")),
        check(server, "alice", resource("file:///b")),
        check(server, "alice", resource("file:///b")),
        // What no limit names, and the server alone.
        check(server, "alice", tool("unknown")),
        check(server, "bob", resource("file:///unknown")),
        check(server, "bob", None),
    ]
}

#[tokio::test]
async fn each_decision_is_counted_by_server_scope_and_operation() {
    let policies = policies();
    // Several workers, whose counts are one.
    let arguments = ["--workers", "3"];
    let limiter = Limiter::start(&policies.path(), arguments).await;
    let limiter = limiter.expect("a limiter");
    for server in ["test/server", "test/tools", "test/shadow"] {
        for one in run(server) {
            // A connection each, so that all workers have some.
            limiter.check(one).await.expect("an answer");
        }
    }
    // Alice has one of her 8 left, and of all 14 three are.
    let alice = (0..2).map(|_| check("test/server", "alice", None));
    let others = (0..3).map(|n| check("test/server", &format!("user-{n}"), tool("unknown")));
    let more: Vec<_> = alice.chain(others).collect();
    stream(&limiter, more).await;
    for name in ["a", "b"] {
        let server = format!("nobody/{name}");
        let checks = [
            check(&server, "alice", tool("x")),
            check(&server, "bob", None),
        ];
        stream(&limiter, checks).await;
    }

    let exposition = scrape(&limiter).await;
    let mut expected = Vec::new();
    let mut add = |server: &str, decision: &str, scope: &str, operation: &str, count: u64| {
        let labels = format!(
            "{{server=\"{server}\",decision=\"{decision}\",scope=\"{scope}\",operation=\"{operation}\"}}"
        );
        expected.push((labels, count));
    };
    for (server, refused) in [
        ("test/server", "denied"),
        ("test/tools", "denied"),
        ("test/shadow", "shadow_denied"),
    ] {
        add(server, "allowed", "", "tool:shared", 2);
        add(server, refused, "global", "tool:shared", 1);
        add(server, "allowed", "", "tool:own", 2);
        add(server, refused, "per_user", "tool:own", 2);
        add(server, "allowed", "", "prompt:weekly", 2);
        add(server, refused, "global", "prompt:weekly", 1);
        add(server, "allowed", "", "resource", 2);
        add(server, refused, "global", "resource", 1);
        add(server, refused, "per_user", "resource", 1);
    }
    add("test/tools", "unlimited", "", "other", 2);
    add("test/tools", "unlimited", "", "server", 1);
    add("test/shadow", "allowed", "", "other", 2);
    add("test/shadow", "allowed", "", "server", 1);
    add("test/server", "allowed", "", "other", 2 + 2);
    add("test/server", "allowed", "", "server", 1 + 1);
    add("test/server", "denied", "per_user", "server", 1);
    add("test/server", "denied", "global", "server", 1);
    add("other", "unlimited", "", "other", 2);
    add("other", "unlimited", "", "server", 2);
    let total: u64 = expected.iter().map(|(_, count)| count).sum();
    let expected: Vec<_> = expected
        .iter()
        .map(|(labels, count)| (labels.as_str(), *count))
        .collect();
    assert_counted(&exposition, "toolgate_checks_total", &expected);
    let durations = [("", total)];
    assert_counted(
        &exposition,
        "toolgate_check_duration_seconds_count",
        &durations,
    );
    assert_eq!(total, 3 * 17 + 5 + 4, "each check once");
    for silent in [
        "toolgate_check_errors_total",
        "toolgate_store_errors_total",
        "toolgate_degraded_checks_total",
        "toolgate_degraded",
        "toolgate_store_breaker_open",
        "toolgate_checks_in_flight",
    ] {
        assert_counted(&exposition, silent, &[]);
    }
    // What is only of Redis is not there.
    assert!(!exposition.text().contains("toolgate_batch_size"));
    for private in ["alice", "file:///", "unknown", "nobody/"] {
        assert!(!exposition.text().contains(private), "{private}");
    }
}

/// Looking is not checking.
#[tokio::test]
async fn peeks_are_not_counted() {
    let limiter = Limiter::of_spec("global: {maxTokens: 1, refillPeriod: 24h}", [""; 0]).await;
    let limiter = limiter.expect("a limiter");
    let mut client = limiter.client().await.expect("a connection");
    for server in ["test/server", "nobody/a"] {
        let peek = toolgate_proto::pb::PeekRequest {
            check: Some(check(server, "alice", None)),
        };
        client.peek(peek).await.expect("an answer");
    }
    let wrong = toolgate_proto::pb::PeekRequest::default();
    client.peek(wrong).await.expect_err("it is wrong");
    let exposition = scrape(&limiter).await;
    for silent in [
        "toolgate_checks_total",
        "toolgate_check_errors_total",
        "toolgate_check_duration_seconds_count",
    ] {
        assert_counted(&exposition, silent, &[]);
    }
}

#[tokio::test]
async fn what_is_turned_off_is_not_there() {
    let spec = "global: {maxTokens: 1, refillPeriod: 24h}";
    let limiter = Limiter::of_spec(spec, ["--metrics=false"]).await;
    let limiter = limiter.expect("a limiter");
    let answer = limiter.check(check("test/server", "alice", None)).await;
    answer.expect("it decides all the same");
    let error = limiter.metrics().await.expect_err("no metrics").to_string();
    assert!(error.starts_with("HTTP/1.1 404 "), "{error}");
}
