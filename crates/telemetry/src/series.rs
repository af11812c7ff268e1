//! For collectors: one metric with all its series, from numbers that somebody else holds.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

/// Names and values of the labels of one series.
pub type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

/// A counter by labels. `_total` is added to `name`, and a full stop to `help`.
pub fn counters<'a, const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: impl IntoIterator<Item = (Labels<'a, N>, u64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, &sentence(help), None, MetricType::Counter)?;
    for (labels, count) in series {
        ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

/// A counter without labels. `_total` is added to `name`, and a full stop to `help`.
pub fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    count: u64,
) -> fmt::Result {
    let metric = encoder.encode_descriptor(name, &sentence(help), None, MetricType::Counter)?;
    ConstCounter::new(count).encode(metric)
}

/// A gauge without labels. A full stop is added to `help`.
pub fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: i64,
) -> fmt::Result {
    let metric = encoder.encode_descriptor(name, &sentence(help), None, MetricType::Gauge)?;
    ConstGauge::new(value).encode(metric)
}

/// A gauge by labels. A full stop is added to `help`.
pub fn gauges<'a, const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: impl IntoIterator<Item = (Labels<'a, N>, i64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, &sentence(help), None, MetricType::Gauge)?;
    for (labels, value) in series {
        ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

/// Help as a registry writes that of its own instruments.
fn sentence(help: &str) -> String {
    format!("{help}.")
}

#[cfg(test)]
mod tests {
    use prometheus_client::{collector::Collector, registry::Registry};

    use super::*;

    #[derive(Debug)]
    struct Weather;

    impl Collector for Weather {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            let rain = [([("day", "monday")], 3), ([("day", "a\"b\n")], 0)];
            counters(&mut encoder, "rain", "Showers so far", rain)?;
            let cold = [([("place", "sea"), ("day", "monday")], -4)];
            gauges(&mut encoder, "cold", "Degrees", cold)?;
            counter(&mut encoder, "days", "Days so far", 2)?;
            gauge(&mut encoder, "wind", "Force", -1)
        }
    }

    #[test]
    fn series_are_shown_with_their_labels_escaped() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Weather));
        assert_eq!(
            crate::exposition(&registry).unwrap(),
            "# HELP rain Showers so far.\n\
             # TYPE rain counter\n\
             rain_total{day=\"monday\"} 3\n\
             rain_total{day=\"a\\\"b\\n\"} 0\n\
             # HELP cold Degrees.\n\
             # TYPE cold gauge\n\
             cold{place=\"sea\",day=\"monday\"} -4\n\
             # HELP days Days so far.\n\
             # TYPE days counter\n\
             days_total 2\n\
             # HELP wind Force.\n\
             # TYPE wind gauge\n\
             wind -1\n\
             # EOF\n"
        );
    }
}
