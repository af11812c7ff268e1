//! Exemplars: from a bucket of a histogram to a trace that is in it.

use toolgate_proto::pb::CheckStreamRequest;
use toolgate_tests::{Limiter, RedisServer, of_user};

use crate::{asks::requests_of, scrape};

/// The example of W3C Trace Context, section 3.2.4.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn histograms_lead_to_the_traces_of_checks_that_are_sampled() {
    let redis = RedisServer::start().await.expect("Redis");
    let spec = "perUser: {maxTokens: 1000, refillPeriod: 24h}";
    let store = redis.url();
    let arguments = ["--store", &store, "--store-timeout", "10s"];
    let limiter = Limiter::of_spec(spec, arguments).await.expect("a limiter");
    let ask = async |sampled: &str| {
        let request = CheckStreamRequest {
            check: Some(of_user("alice")),
            traceparent: format!("00-{TRACE}-00f067aa0ba902b7-{sampled}"),
            ..CheckStreamRequest::default()
        };
        let answers = requests_of(&limiter, [request]).await;
        assert!(answers[0].is_ok(), "{answers:?}");
        let exposition = scrape(&limiter).await;
        #[cfg(feature = "sdk")]
        exposition.parsed().expect("OpenMetrics");
        let lines = exposition.text().lines();
        let led = lines.filter(|line| line.contains(&format!(" # {{trace_id=\"{TRACE}\"}} ")));
        let metric = |line: &str| line.split('{').next().map(str::to_owned);
        led.filter_map(metric).collect::<Vec<_>>()
    };
    assert_eq!(ask("00").await, [""; 0]);
    let mut led = ask("01").await;
    led.sort_unstable();
    let expected = [
        "toolgate_check_duration_seconds_bucket",
        "toolgate_store_duration_seconds_bucket",
    ];
    assert_eq!(led, expected);
}
