//! The official parser reads what is shown, all of it is documented, and there is no more of it
//! after many callers have asked for many things.

use toolgate_proto::pb::CheckRequest;
use toolgate_tests::{Limiter, RedisServer, documented};

use crate::{
    asks::{check, prompt, resource, stream, tool},
    scrape,
};

/// Nobody comes near these limits, except for one tool's.
const SPEC: &str = "global: {maxTokens: 2147483647, refillPeriod: 1s}, \
    perUser: {maxTokens: 1000000, refillPeriod: 1s}, \
    tools: [{name: search, perUser: {maxTokens: 1000000, refillPeriod: 1s}}, \
            {name: closed, global: {maxTokens: 1, refillPeriod: 8784h}}], \
    prompts: [{name: weekly, perUser: {maxTokens: 1000000, refillPeriod: 1s}}], \
    resources: [{name: 'file:///a', perUser: {maxTokens: 1000000, refillPeriod: 1s}}]";

/// What callers ask for: `n` tells them apart, in all that is theirs to choose.
fn asked_by(n: usize) -> [CheckRequest; 8] {
    let (user, server) = (format!("user-{n}"), format!("unknown/server-{n}"));
    let of_policy = |operation| check("test/server", &user, operation);
    [
        of_policy(tool("search")),
        of_policy(prompt("weekly")),
        of_policy(resource("file:///a")),
        of_policy(None),
        of_policy(tool(&format!("unknown-{n}"))),
        of_policy(resource(&format!("file:///unknown-{n}"))),
        check(&server, &user, tool("search")),
        check(&server, &user, None),
    ]
}

#[tokio::test]
async fn what_is_shown_is_what_is_documented_and_grows_with_no_caller() {
    let redis = RedisServer::start().await.expect("Redis");
    let store = redis.url();
    let arguments = ["--store", &store, "--store-timeout", "60s"];
    let limiter = Limiter::of_spec(SPEC, arguments).await.expect("a limiter");
    stream(&limiter, asked_by(0)).await;
    stream(
        &limiter,
        (0..3).map(|_| check("test/server", "alice", tool("closed"))),
    )
    .await;
    stream(&limiter, [CheckRequest::default()]).await;
    let before = scrape(&limiter).await;

    let parsed = before.parsed().expect("OpenMetrics");
    assert_eq!(parsed, documented("Metrics of the limiter"));

    // 100,000 users, 10,000 tools and resources and 10,000 servers that no policy names.
    let many = (1..=10_000).flat_map(asked_by);
    let answers = stream(&limiter, many).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 0);
    let users =
        (10_001..=100_000).map(|n| check("test/server", &format!("user-{n}"), tool("search")));
    let answers = stream(&limiter, users).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 0);

    let after = scrape(&limiter).await;
    assert_eq!(after.names(), before.names());
    assert_eq!(after.parsed().expect("OpenMetrics"), parsed);
    let checks: u64 = after.counted("toolgate_checks_total").values().sum();
    assert_eq!(checks, 8 * 10_001 + 3 + 90_000, "all were counted");
}
