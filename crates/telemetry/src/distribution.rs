//! A histogram that several writers fill, each its own part, and that is put together at a scrape.
//!
//! The instruments of `prometheus-client` are shared by all who observe, behind a lock, and its
//! encoder takes no exemplar that it has not made itself. Where hundreds of thousands of
//! observations a second come from several threads, each keeps a [`Distribution`] of its own.

use std::{
    fmt::{self, Write},
    iter,
    time::Duration,
};

use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model::{
    self as shown, MetricFamily,
};

/// What one writer, or several together, have observed, by upper bounds.
#[derive(Clone, Debug)]
pub struct Distribution {
    /// Ascending. What is above all of them has a bucket of its own, the last.
    bounds: &'static [f64],
    buckets: Vec<Bucket>,
    sum: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    count: u64,
    exemplar: Option<Exemplar>,
}

/// One observation, and the trace in which it was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// The trace, as W3C Trace Context names it.
    pub trace_id: u128,
    /// What was observed.
    pub value: f64,
    /// When, since the Unix epoch.
    pub at: Duration,
}

impl Distribution {
    /// Nothing yet; `bounds` are the upper bounds of buckets, ascending.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            buckets: vec![Bucket::default(); bounds.len() + 1],
            sum: 0.0,
        }
    }

    /// What somebody else has counted: by `bounds` the observations of each bucket and the latest that
    /// was sampled, and the `sum` of all. The last bucket is above all bounds.
    pub fn of(
        bounds: &'static [f64],
        buckets: impl IntoIterator<Item = (u64, Option<Exemplar>)>,
        sum: f64,
    ) -> Self {
        let buckets = buckets.into_iter();
        let buckets: Vec<_> = buckets
            .map(|(count, exemplar)| Bucket { count, exemplar })
            .collect();
        debug_assert_eq!(buckets.len(), bounds.len() + 1, "one above all bounds");
        Self {
            bounds,
            buckets,
            sum,
        }
    }

    /// `count` observations of `value`, and the trace of one of them, if one was sampled.
    pub fn observe(&mut self, value: f64, count: u64, sampled: Option<Exemplar>) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        let bucket = &mut self.buckets[bucket];
        bucket.count += count;
        bucket.exemplar = sampled.or(bucket.exemplar);
        #[allow(clippy::cast_precision_loss, reason = "a few checks at a time")]
        let count = count as f64;
        self.sum += value * count;
    }

    /// Adds what `other`, of the same bounds, has observed. Of two exemplars the later one stays.
    pub fn add(&mut self, other: &Self) {
        debug_assert_eq!(self.bounds, other.bounds, "parts of one histogram");
        self.sum += other.sum;
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            mine.count += theirs.count;
            let at = |exemplar: Option<Exemplar>| exemplar.map(|exemplar| exemplar.at);
            if at(theirs.exemplar) > at(mine.exemplar) {
                mine.exemplar = theirs.exemplar;
            }
        }
    }

    /// As [`Distribution::write`], as a value.
    pub(crate) fn family(&self, name: &str, help: &str) -> MetricFamily {
        let bounds = self.bounds.iter().copied().chain(iter::once(f64::MAX));
        let mut below = 0;
        let bucket = bounds.zip(&self.buckets).map(|(upper_bound, bucket)| {
            below += bucket.count;
            shown::Bucket {
                cumulative_count: below,
                upper_bound,
                exemplar: bucket.exemplar.map(Into::into),
                ..shown::Bucket::default()
            }
        });
        let histogram = shown::Histogram {
            bucket: bucket.collect(),
            sample_count: below,
            sample_sum: self.sum,
            ..shown::Histogram::default()
        };
        MetricFamily {
            name: format!("{name}_seconds"),
            help: format!("{help}."),
            r#type: shown::MetricType::Histogram.into(),
            metric: vec![shown::Metric {
                histogram: Some(histogram),
                ..shown::Metric::default()
            }],
            unit: "seconds".to_owned(),
        }
    }

    /// As a metric in seconds, in `OpenMetrics`; the unit is added to `name`, and a full stop to
    /// `help`.
    pub(crate) fn write(&self, name: &str, help: &str, text: &mut String) -> fmt::Result {
        let count: u64 = self.buckets.iter().map(|bucket| bucket.count).sum();
        writeln!(text, "# HELP {name}_seconds {help}.")?;
        writeln!(text, "# TYPE {name}_seconds histogram")?;
        writeln!(text, "# UNIT {name}_seconds seconds")?;
        writeln!(text, "{name}_seconds_sum {}", Number(self.sum))?;
        writeln!(text, "{name}_seconds_count {count}")?;
        let bounds = self.bounds.iter().copied().chain(iter::once(f64::INFINITY));
        let mut below = 0;
        for (bound, bucket) in bounds.zip(&self.buckets) {
            below += bucket.count;
            let bound = Number(bound);
            write!(text, "{name}_seconds_bucket{{le=\"{bound}\"}} {below}")?;
            if let Some(exemplar) = &bucket.exemplar {
                write!(text, " # {exemplar}")?;
            }
            text.write_char('\n')?;
        }
        Ok(())
    }
}

impl From<Exemplar> for shown::Exemplar {
    fn from(exemplar: Exemplar) -> Self {
        Self {
            label: vec![shown::LabelPair {
                name: "trace_id".to_owned(),
                value: format!("{:032x}", exemplar.trace_id),
            }],
            value: exemplar.value,
            // None of a time that protobuf cannot hold.
            timestamp: prost_types::Duration::try_from(exemplar.at).ok().map(|at| {
                prost_types::Timestamp {
                    seconds: at.seconds,
                    nanos: at.nanos,
                }
            }),
        }
    }
}

impl fmt::Display for Exemplar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, value) = (self.trace_id, Number(self.value));
        let (seconds, micros) = (self.at.as_secs(), self.at.subsec_micros());
        write!(
            f,
            "{{trace_id=\"{trace:032x}\"}} {value} {seconds}.{micros:06}"
        )
    }
}

/// A number as `OpenMetrics` writes floats: never as if it were an integer.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            f64::INFINITY => f.write_str("+Inf"),
            whole if whole.fract() == 0.0 => write!(f, "{whole:.1}"),
            number => write!(f, "{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [f64; 3] = [0.000_025, 0.5, 1.0];

    fn exemplar(trace_id: u128, value: f64, at_millis: u64) -> Exemplar {
        Exemplar {
            trace_id,
            value,
            at: Duration::from_millis(at_millis),
        }
    }

    #[test]
    fn parts_are_shown_as_one_histogram_with_the_latest_exemplars() {
        let (mut one, mut other) = (Distribution::new(&BOUNDS), Distribution::new(&BOUNDS));
        one.observe(0.000_025, 3, None);
        one.observe(0.25, 1, Some(exemplar(1, 0.25, 1_000)));
        one.observe(0.25, 1, None);
        other.observe(0.5, 2, Some(exemplar(0xabc, 0.5, 1_500)));
        other.observe(7.0, 1, Some(exemplar(u128::MAX, 7.0, 2_000)));
        one.add(&other);
        let mut text = String::new();
        one.write("wait", "How long", &mut text).unwrap();
        assert_eq!(
            text,
            "# HELP wait_seconds How long.\n\
             # TYPE wait_seconds histogram\n\
             # UNIT wait_seconds seconds\n\
             wait_seconds_sum 8.500075\n\
             wait_seconds_count 8\n\
             wait_seconds_bucket{le=\"0.000025\"} 3\n\
             wait_seconds_bucket{le=\"0.5\"} 7 # {trace_id=\"00000000000000000000000000000abc\"} 0.5 1.500000\n\
             wait_seconds_bucket{le=\"1.0\"} 7\n\
             wait_seconds_bucket{le=\"+Inf\"} 8 # {trace_id=\"ffffffffffffffffffffffffffffffff\"} 7.0 2.000000\n"
        );
    }

    #[test]
    fn an_observation_without_a_trace_leaves_the_exemplar_of_its_bucket() {
        let mut waits = Distribution::new(&BOUNDS);
        waits.observe(0.25, 1, Some(exemplar(1, 0.25, 1)));
        waits.observe(0.3, 1, None);
        assert_eq!(waits.buckets[1].exemplar, Some(exemplar(1, 0.25, 1)));
    }

    /// What is exported must be what is scraped, or two dashboards differ.
    #[test]
    fn as_a_value_it_is_what_it_is_as_text() {
        let mut waits = Distribution::new(&BOUNDS);
        waits.observe(0.25, 2, Some(exemplar(0xabc, 0.25, 1_500)));
        waits.observe(7.0, 1, None);
        let family = waits.family("wait", "How long");
        assert_eq!(
            (family.name.as_str(), family.unit.as_str()),
            ("wait_seconds", "seconds")
        );
        let histogram = family.metric[0].histogram.as_ref().unwrap();
        assert_eq!((histogram.sample_count, histogram.sample_sum), (3, 7.5));
        let buckets = histogram.bucket.iter();
        let counts: Vec<_> = buckets.map(|bucket| bucket.cumulative_count).collect();
        assert_eq!(counts, [0, 2, 2, 3]);
        let sampled = histogram.bucket[1].exemplar.as_ref().unwrap();
        assert_eq!(sampled.label[0].value, format!("{:032x}", 0xabc));
        let at = sampled.timestamp.unwrap();
        assert_eq!((at.seconds, at.nanos), (1, 500_000_000));
    }
}
