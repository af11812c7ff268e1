//! Metrics and spans reach a collector, over both protocols, with who sent them.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data, number_data_point::Value};
use toolgate_tests::{Collector, Limiter, PolicyFile, ReceivedMetric, attributes, of_user};

use crate::gateway::{Gateway, http};

const LIMITS: &str = "
limiter: embedded
rateLimiting: {tools: [{name: a_reverse, global: {maxTokens: 1, refillPeriod: 24h}}]}
";

/// The values of a counter or gauge, and the counts of a histogram, by attributes.
fn values(metric: &Metric) -> BTreeMap<BTreeMap<String, String>, f64> {
    let numbers = match metric.data.as_ref().expect("points") {
        Data::Sum(sum) => &sum.data_points,
        Data::Gauge(gauge) => &gauge.data_points,
        Data::Histogram(histogram) => {
            let points = histogram.data_points.iter();
            #[allow(clippy::cast_precision_loss, reason = "a few calls")]
            return points
                .map(|point| (attributes(&point.attributes), point.count as f64))
                .collect();
        }
        other => panic!("{other:?}"),
    };
    let numbers = numbers.iter();
    numbers
        .map(|point| match point.value {
            Some(Value::AsDouble(value)) => (attributes(&point.attributes), value),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn of<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    let pairs = pairs.into_iter();
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// A series of the exposition as its name and labels, and its value.
fn scraped(text: &str, name: &str) -> BTreeMap<BTreeMap<String, String>, f64> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(name));
    lines
        .filter_map(|rest| {
            let (labels, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.split_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            let value = value.split(' ').next()?.parse().ok()?;
            let labels = labels.split(',').filter_map(|label| {
                let (key, value) = label.split_once('=')?;
                Some((key.to_owned(), value.trim_matches('"').to_owned()))
            });
            Some((labels.collect(), value))
        })
        .collect()
}

/// What was counted last of each metric.
fn last(metrics: Vec<ReceivedMetric>) -> BTreeMap<String, Metric> {
    let metrics = metrics.into_iter();
    metrics
        .map(|received| (received.metric.name.clone(), received.metric))
        .collect()
}

async fn what_a_gateway_exports_is_what_it_shows(protocol: &str, more: &[(&str, &str)]) {
    let collector = Collector::start();
    let mut variables = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a%20b"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "50"),
        ("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=vmcp-0"),
        ("OTEL_SERVICE_NAME", "vmcp-eu"),
    ];
    variables.extend(more);
    let gateway = Gateway::start(LIMITS, &variables).await;
    for _ in 0..3 {
        gateway.call("a_reverse", &[]).await;
    }
    let denied = of([("result", "denied")]);
    let metric = collector
        .metric("two denials", |received| {
            received.metric.name == "toolgate_client_checks"
                && values(&received.metric).get(&denied) == Some(&2.0)
        })
        .await;
    assert_eq!(collector.header("x-tenant").as_deref(), Some("a b"));
    assert_eq!(metric.scope, "vmcp");
    let resource = |name: &str| metric.resource.get(name).map(String::as_str);
    assert_eq!(resource("service.name"), Some("vmcp-eu"));
    assert_eq!(resource("service.namespace"), Some("toolgate"));
    assert_eq!(resource("service.version"), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(resource("k8s.pod.name"), Some("vmcp-0"));
    assert!(resource("service.instance.id").is_some_and(|id| id.len() == 36));

    let text = gateway.scrape().await;
    let log = gateway.stop().await;
    assert!(!log.contains("cannot be exported"), "{log}");
    let exported = last(collector.metrics());
    for (scraped_name, name) in [
        ("toolgate_client_checks_total", "toolgate_client_checks"),
        (
            "toolgate_client_fail_open_total",
            "toolgate_client_fail_open",
        ),
        ("vmcp_requests_total", "vmcp_requests"),
        ("vmcp_build_info", "vmcp_build_info"),
        (
            "toolgate_client_check_duration_seconds_count",
            "toolgate_client_check_duration_seconds",
        ),
    ] {
        let (shown, sent) = (scraped(&text, scraped_name), values(&exported[name]));
        assert!(!shown.is_empty(), "{scraped_name}: {text}");
        assert_eq!(shown, sent, "{name}");
    }
    // Nothing that is shown is left out.
    let families = text.lines().filter_map(|line| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        let suffix = if kind == "info" { "_info" } else { "" };
        Some(format!("{name}{suffix}"))
    });
    for name in families {
        let has_series = text.lines().any(|line| line.starts_with(&name));
        assert!(
            !has_series || exported.contains_key(&name),
            "{name}: {text}"
        );
    }
}

#[tokio::test]
async fn over_grpc_what_a_gateway_exports_is_what_it_shows() {
    what_a_gateway_exports_is_what_it_shows("grpc", &[]).await;
}

#[tokio::test]
async fn over_http_what_a_gateway_exports_is_what_it_shows() {
    what_a_gateway_exports_is_what_it_shows("http/protobuf", &[]).await;
}

#[tokio::test]
async fn compressed_exports_are_understood() {
    let gzip = [("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")];
    what_a_gateway_exports_is_what_it_shows("http/protobuf", &gzip).await;
    what_a_gateway_exports_is_what_it_shows("grpc", &gzip).await;
}

/// Kubernetes stops a replica minutes before its next interval would come.
#[tokio::test]
async fn the_last_export_of_metrics_comes_with_the_end() {
    let collector = Collector::start();
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "3600000"),
    ];
    let gateway = Gateway::start(LIMITS, &variables).await;
    gateway.call("a_echo", &[]).await;
    assert_eq!(collector.metrics(), []);
    gateway.stop().await;
    let exported = last(collector.metrics());
    let calls = values(&exported["vmcp_requests"]);
    assert!(calls.values().sum::<f64>() >= 1.0, "{calls:?}");
}

#[tokio::test]
async fn what_a_limiter_exports_is_what_it_shows() {
    let collector = Collector::start();
    let policies = PolicyFile::of_spec("perUser: {maxTokens: 2, refillPeriod: 24h}");
    let policies = policies.expect("a policy");
    let mut limiter = Limiter::start_with(&policies.path(), [""; 0], |command| {
        command
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint())
            .env("OTEL_METRIC_EXPORT_INTERVAL", "50");
    })
    .await
    .expect("a limiter");
    let mut client = limiter.client().await.expect("a connection");
    for _ in 0..3 {
        client.check(of_user("alice")).await.expect("an answer");
    }
    let metric = collector
        .metric("three checks", |received| {
            received.metric.name == "toolgate_checks"
                && values(&received.metric).values().sum::<f64>() >= 3.0
        })
        .await;
    assert_eq!(metric.resource["service.name"], "toolgate");
    assert_eq!(
        metric.resource["service.version"],
        env!("CARGO_PKG_VERSION")
    );
    let url = format!("http://{}/metrics", limiter.http_address());
    let answer = http().get(url).send().await.expect("an answer");
    let text = answer.text().await.expect("text");
    limiter.signal(Signal::SIGTERM).expect("told");
    limiter.wait().await.expect("it ends");
    let exported = last(collector.metrics());
    for (scraped_name, name) in [
        ("toolgate_checks_total", "toolgate_checks"),
        ("toolgate_build_info", "toolgate_build_info"),
        ("toolgate_degraded", "toolgate_degraded"),
        (
            "toolgate_check_duration_seconds_count",
            "toolgate_check_duration_seconds",
        ),
    ] {
        let (shown, sent) = (scraped(&text, scraped_name), values(&exported[name]));
        assert!(!shown.is_empty(), "{scraped_name}: {text}");
        assert_eq!(shown, sent, "{name}");
    }
}
