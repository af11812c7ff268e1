#![allow(
    clippy::float_cmp,
    reason = "what is sent is what was counted, to the bit"
)]

use std::{fmt, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, prometheus_protobuf},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        exemplar::{CounterWithExemplar, HistogramWithExemplars},
        family::Family,
        gauge::Gauge as PrometheusGauge,
        histogram::Histogram as PrometheusHistogram,
        info::Info,
    },
    registry::{Registry, Unit},
};

use super::*;

const SPAN: Span = Span {
    since: 1_000,
    now: 2_000,
};

fn translated(registry: &Registry) -> Vec<Metric> {
    let shown = prometheus_protobuf::encode(registry).unwrap();
    let metrics = shown.into_iter();
    metrics
        .filter_map(|family| super::metric(family, SPAN))
        .collect()
}

/// The only metric of a registry.
fn only(registry: &Registry) -> Metric {
    let mut metrics = translated(registry);
    assert_eq!(metrics.len(), 1, "{metrics:?}");
    metrics.remove(0)
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key.to_owned(), value.to_owned())
}

#[test]
fn a_counter_is_a_monotonic_cumulative_sum_without_its_total() {
    let mut registry = Registry::default();
    let checks = Family::<[(&str, &str); 1], Counter>::default();
    registry.register("checks", "Checks so far", checks.clone());
    checks.get_or_create(&[("decision", "denied")]).inc_by(3);
    let metric = only(&registry);
    assert_eq!(metric.name, "checks");
    assert_eq!(metric.description, "Checks so far.");
    assert_eq!(metric.metadata, [text("prometheus.type", "counter")]);
    let Some(Data::Sum(sum)) = metric.data else {
        panic!("no sum");
    };
    assert!(sum.is_monotonic);
    assert_eq!(sum.aggregation_temporality, CUMULATIVE);
    let point = &sum.data_points[0];
    assert_eq!(point.attributes, [text("decision", "denied")]);
    assert_eq!(
        (point.start_time_unix_nano, point.time_unix_nano),
        (1_000, 2_000)
    );
    assert_eq!(point.value, Some(number_data_point::Value::AsDouble(3.0)));
}

#[test]
fn a_gauge_has_no_start_and_an_info_is_a_gauge_that_is_1() {
    let mut registry = Registry::default();
    let cold = PrometheusGauge::<i64>::default();
    cold.set(-4);
    registry.register("cold", "Degrees", cold);
    registry.register("build", "What runs", Info::new([("version", "1.2.3")]));
    let values = translated(&registry).into_iter().map(|metric| {
        let Some(Data::Gauge(gauge)) = metric.data else {
            panic!("no gauge");
        };
        let point = gauge.data_points[0].clone();
        assert_eq!(point.start_time_unix_nano, 0);
        (metric.name, point.attributes, point.value)
    });
    let double = |value| Some(number_data_point::Value::AsDouble(value));
    assert_eq!(
        values.collect::<Vec<_>>(),
        [
            ("cold".to_owned(), vec![], double(-4.0)),
            (
                "build_info".to_owned(),
                vec![text("version", "1.2.3")],
                double(1.0)
            ),
        ]
    );
}

#[test]
fn a_histogram_has_its_unit_and_each_bucket_its_own_count() {
    let mut registry = Registry::default();
    let wait = PrometheusHistogram::new([0.5, 1.0]);
    for seconds in [0.25, 0.5, 0.75, 8.0] {
        wait.observe(seconds);
    }
    registry.register_with_unit("wait", "How long", Unit::Seconds, wait);
    let metric = only(&registry);
    assert_eq!(
        (metric.name.as_str(), metric.unit.as_str()),
        ("wait_seconds", "s")
    );
    let Some(Data::Histogram(histogram)) = metric.data else {
        panic!("no histogram");
    };
    assert_eq!(histogram.aggregation_temporality, CUMULATIVE);
    let point = &histogram.data_points[0];
    assert_eq!((point.count, point.sum), (4, Some(9.5)));
    assert_eq!(point.explicit_bounds, [0.5, 1.0]);
    assert_eq!(point.bucket_counts, [2, 1, 1]);
    assert_eq!(point.start_time_unix_nano, 1_000);
}

#[test]
fn an_exemplar_leads_to_its_trace() {
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let labels = vec![
        ("trace_id", trace),
        ("span_id", "b7ad6b7169203331"),
        ("server", "default/research"),
    ];
    let at = std::time::UNIX_EPOCH + Duration::new(5, 7);
    let mut registry = Registry::default();
    let wait = HistogramWithExemplars::<Vec<(&str, &str)>>::new([0.5].into_iter());
    wait.observe(0.25, Some(labels.clone()), Some(at));
    registry.register("wait", "How long", wait);
    let denied = CounterWithExemplar::<Vec<(&str, &str)>>::default();
    denied.inc_by(1, Some(labels), None);
    registry.register("denied", "So many", denied);
    let exemplars: Vec<_> = translated(&registry)
        .into_iter()
        .flat_map(|metric| match metric.data {
            Some(Data::Histogram(histogram)) => histogram.data_points[0].exemplars.clone(),
            Some(Data::Sum(sum)) => sum.data_points[0].exemplars.clone(),
            _ => panic!("neither"),
        })
        .collect();
    let [of_histogram, of_counter] = &exemplars[..] else {
        panic!("{exemplars:?}");
    };
    for exemplar in [of_histogram, of_counter] {
        assert_eq!(exemplar.trace_id, bytes(trace).unwrap());
        assert_eq!(exemplar.span_id.len(), 8);
        assert_eq!(
            exemplar.filtered_attributes,
            [text("server", "default/research")]
        );
    }
    assert_eq!(of_histogram.time_unix_nano, 5_000_000_007);
    assert_eq!(of_histogram.value, Some(exemplar::Value::AsDouble(0.25)));
    assert_eq!(of_counter.time_unix_nano, 2_000);
}

#[test]
fn an_id_that_is_none_stays_a_label() {
    let label = |name: &str, value: &str| shown::LabelPair {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let sent = super::exemplar(
        shown::Exemplar {
            label: vec![label("trace_id", "0af"), label("span_id", "héhéhé")],
            ..shown::Exemplar::default()
        },
        SPAN,
    );
    assert_eq!((sent.trace_id.len(), sent.span_id.len()), (0, 0));
    assert_eq!(sent.filtered_attributes.len(), 2);
}

#[derive(Debug)]
struct Nothing;

impl Collector for Nothing {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        encoder.encode_descriptor("none", "Without series.", None, MetricType::Counter)?;
        let mut some = encoder.encode_descriptor("some", "With one.", None, MetricType::Counter)?;
        ConstCounter::new(7_u64).encode(some.encode_family(&[("of", "a")])?)
    }
}

#[test]
fn a_family_without_series_is_left_out() {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Nothing));
    assert_eq!(only(&registry).name, "some");
}
