//! What a registry shows, as OTLP has it: by "Prometheus Metric points to OTLP" of OpenTelemetry's
//! Prometheus compatibility specification.
//!
//! A name is that on `/metrics`, without the `_total` of a counter: who stores it for Prometheus
//! adds that again, by its type. What is an info there is a gauge `{name}_info`, which is 1.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Exemplar, Gauge, Histogram, HistogramDataPoint, Metric,
        NumberDataPoint, Sum, exemplar, metric::Data, number_data_point,
    },
};
use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model as shown;

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// Since when it was counted, and until when: nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) since: u64,
    pub(super) now: u64,
}

/// The metric of a family; none if it has no series.
pub(super) fn metric(family: shown::MetricFamily, span: Span) -> Option<Metric> {
    if family.metric.is_empty() {
        return None;
    }
    let kind = family.r#type();
    let name = match family.name.strip_suffix("_total") {
        Some(name) if kind == shown::MetricType::Counter => name.to_owned(),
        _ => family.name,
    };
    let series = family.metric.into_iter();
    let data = match kind {
        shown::MetricType::Counter => Data::Sum(Sum {
            data_points: series.filter_map(|it| counter(it, span)).collect(),
            aggregation_temporality: CUMULATIVE,
            is_monotonic: true,
        }),
        shown::MetricType::Histogram => Data::Histogram(Histogram {
            data_points: series.filter_map(|it| histogram(it, span)).collect(),
            aggregation_temporality: CUMULATIVE,
        }),
        shown::MetricType::Gauge | shown::MetricType::Untyped => Data::Gauge(Gauge {
            data_points: series.filter_map(|it| gauge(it, span)).collect(),
        }),
        // A registry has no way to make one.
        shown::MetricType::Summary | shown::MetricType::GaugeHistogram => return None,
    };
    let type_name = kind.as_str_name().to_ascii_lowercase();
    Some(Metric {
        name,
        description: family.help,
        unit: unit(&family.unit).to_owned(),
        metadata: vec![attribute("prometheus.type".to_owned(), type_name)],
        data: Some(data),
    })
}

fn counter(shown: shown::Metric, span: Span) -> Option<NumberDataPoint> {
    let counter = shown.counter?;
    let exemplar = counter.exemplar.map(|it| exemplar(it, span));
    Some(NumberDataPoint {
        attributes: attributes(shown.label),
        start_time_unix_nano: span.since,
        time_unix_nano: span.now,
        exemplars: exemplar.into_iter().collect(),
        flags: 0,
        value: Some(number_data_point::Value::AsDouble(counter.value)),
    })
}

fn gauge(shown: shown::Metric, span: Span) -> Option<NumberDataPoint> {
    let value = match (shown.gauge, shown.untyped) {
        (Some(gauge), _) => gauge.value,
        (None, untyped) => untyped?.value,
    };
    Some(NumberDataPoint {
        attributes: attributes(shown.label),
        time_unix_nano: span.now,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    })
}

fn histogram(shown: shown::Metric, span: Span) -> Option<HistogramDataPoint> {
    let histogram = shown.histogram?;
    let mut point = HistogramDataPoint {
        attributes: attributes(shown.label),
        start_time_unix_nano: span.since,
        time_unix_nano: span.now,
        count: histogram.sample_count,
        sum: Some(histogram.sample_sum),
        ..HistogramDataPoint::default()
    };
    let mut below = 0;
    for bucket in histogram.bucket {
        // There, a bucket has all below it too; here, the last one has no bound.
        point.bucket_counts.push(bucket.cumulative_count - below);
        below = bucket.cumulative_count;
        if bucket.upper_bound < f64::MAX {
            point.explicit_bounds.push(bucket.upper_bound);
        }
        let exemplar = bucket.exemplar.map(|it| exemplar(it, span));
        point.exemplars.extend(exemplar);
    }
    Some(point)
}

fn exemplar(shown: shown::Exemplar, span: Span) -> Exemplar {
    let mut sent = Exemplar {
        time_unix_nano: shown.timestamp.map_or(span.now, nanoseconds),
        value: Some(exemplar::Value::AsDouble(shown.value)),
        ..Exemplar::default()
    };
    for label in shown.label {
        match (label.name.as_str(), bytes(&label.value)) {
            ("trace_id", Some(id)) if id.len() == 16 => sent.trace_id = id,
            ("span_id", Some(id)) if id.len() == 8 => sent.span_id = id,
            _ => {
                let attribute = attribute(label.name, label.value);
                sent.filtered_attributes.push(attribute);
            }
        }
    }
    sent
}

fn nanoseconds(time: prost_types::Timestamp) -> u64 {
    let seconds = u64::try_from(time.seconds).unwrap_or_default();
    let nanos = u64::try_from(time.nanos).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// Of hexadecimal text.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

fn attributes(labels: Vec<shown::LabelPair>) -> Vec<KeyValue> {
    let labels = labels.into_iter();
    labels
        .map(|label| attribute(label.name, label.value))
        .collect()
}

fn attribute(key: String, value: String) -> KeyValue {
    KeyValue {
        key,
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value)),
        }),
        ..KeyValue::default()
    }
}

/// As the Unified Code for Units of Measure abbreviates it.
fn unit(word: &str) -> &str {
    match word {
        "seconds" => "s",
        "bytes" => "By",
        "ratios" | "ratio" => "1",
        "celsius" => "Cel",
        "meters" => "m",
        "volts" => "V",
        "amperes" => "A",
        "joules" => "J",
        "grams" => "g",
        other => other,
    }
}

#[cfg(test)]
mod tests;
