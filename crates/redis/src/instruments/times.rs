//! A histogram that is read while it is filled: no batch waits for a scrape.
//!
//! A histogram with exemplars of `prometheus-client` is locked while it is written as text, and whoever
//! observes waits for that. On a busy machine the scrape may wait for a processor meanwhile.

use std::{
    iter,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Times, some of which lead to traces.
#[derive(Debug)]
pub(super) struct Times {
    /// Upper bounds of buckets in seconds, ascending. What is above all of them has the last bucket.
    bounds: &'static [f64],
    counts: Vec<AtomicU64>,
    sum_nanos: AtomicU64,
    /// The latest of each bucket. A batch that finds it locked leaves none.
    sampled: Mutex<Vec<Option<Sampled>>>,
}

/// How long something took, and the trace in which it did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampled {
    /// The trace, as W3C Trace Context names it.
    pub trace_id: u128,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// When it was over, since the Unix epoch.
    pub at: Duration,
}

/// How long calls took, as it was at one moment.
#[derive(Clone, Debug)]
pub struct Durations {
    /// Upper bounds of buckets in seconds, ascending.
    pub bounds: &'static [f64],
    /// The calls of each bucket, and the latest of them that was sampled. The last is above all
    /// bounds.
    pub buckets: Vec<(u64, Option<Sampled>)>,
    /// How long all calls took together.
    pub sum: Duration,
}

impl Times {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        let buckets = bounds.len() + 1;
        Self {
            bounds,
            counts: iter::repeat_with(AtomicU64::default)
                .take(buckets)
                .collect(),
            sum_nanos: AtomicU64::default(),
            sampled: Mutex::new(vec![None; buckets]),
        }
    }

    /// `trace` has its id, and when it was over.
    pub(super) fn observe(&self, took: Duration, trace: Option<(u128, Duration)>) {
        let seconds = took.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
        if let Some((trace_id, at)) = trace
            && let Ok(mut sampled) = self.sampled.try_lock()
        {
            sampled[bucket] = Some(Sampled {
                trace_id,
                seconds,
                at,
            });
        }
    }

    pub(super) fn read(&self) -> Durations {
        // It is changed in one step, so a poisoned lock is as good as any.
        let sampled = self.sampled.lock().unwrap_or_else(PoisonError::into_inner);
        let sampled = sampled.clone();
        let counts = self.counts.iter();
        let counts = counts.map(|count| count.load(Ordering::Relaxed));
        Durations {
            bounds: self.bounds,
            buckets: counts.zip(sampled).collect(),
            sum: Duration::from_nanos(self.sum_nanos.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch waited until the scrape was written.
    #[test]
    fn a_batch_waits_for_no_scrape_whether_it_is_sampled_or_not() {
        let times = Times::new(&[0.01, 0.04]);
        let at = Duration::from_secs(9);
        times.observe(Duration::from_millis(20), Some((7, at)));
        let scrape = times.sampled.lock().expect("no panic");
        times.observe(Duration::from_millis(30), Some((8, at)));
        times.observe(Duration::from_millis(50), None);
        drop(scrape);
        let read = times.read();
        let sampled = Sampled {
            trace_id: 7,
            seconds: 0.02,
            at,
        };
        assert_eq!(read.buckets, [(0, None), (2, Some(sampled)), (1, None)]);
        assert_eq!(read.sum, Duration::from_millis(100));
    }
}
