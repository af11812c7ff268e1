//! What is shown, and what dashboard and alerts ask for, is what docs/observability.md has.

use std::collections::{BTreeMap, BTreeSet};

use toolgate_tests::{Limiter, RedisServer, documented};

use crate::scrape;

/// The names of metrics in `text`, without what histograms add to them. Recording rules are none:
/// they have colons.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c| !of_name(c));
    let ours = words.filter(|word| {
        let is_ours = word.starts_with("toolgate_") || word.starts_with("vmcp_");
        is_ours && !word.contains(':')
    });
    ours.map(|word| {
        let suffixes = ["_bucket", "_sum", "_count"];
        let metric = suffixes.iter().find_map(|suffix| word.strip_suffix(suffix));
        metric.unwrap_or(word)
    })
    .collect()
}

#[test]
fn what_dashboard_and_alerts_ask_for_is_documented() {
    let mut known = documented("Metrics of the limiter");
    known.extend(documented("Metrics of policies from a cluster"));
    known.extend(documented("Metrics of `vmcp`"));
    for asks in [
        include_str!("../../../deploy/observability/alerts.yaml"),
        include_str!("../../../deploy/observability/grafana-dashboard.json"),
        include_str!("../../../docs/observability.md"),
    ] {
        let asked = metrics_in(asks);
        assert!(asked.len() > 10, "{asked:?}");
        let unknown: Vec<_> = asked
            .iter()
            .filter(|name| !known.contains_key(**name))
            .collect();
        assert_eq!(unknown, [&""; 0]);
    }
}

#[tokio::test]
async fn each_metric_has_a_row_with_its_type_and_each_row_a_metric() {
    let redis = RedisServer::start().await.expect("Redis");
    let spec = "perUser: {maxTokens: 1000, refillPeriod: 24h}";
    let limiter = Limiter::of_spec(spec, ["--store", &redis.url()]).await;
    let exposition = scrape(&limiter.expect("a limiter")).await;
    let documented = documented("Metrics of the limiter");
    let rows: BTreeMap<_, _> = documented
        .iter()
        .map(|(name, metric)| (name.clone(), metric.kind.as_str()))
        .collect();
    assert_eq!(exposition.kinds(), rows);
}
