//! What a store shows of itself in Prometheus.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    metrics::{counter::Counter, histogram::Histogram},
    registry::Registry,
};
use toolgate_limit::{Clock as _, Plan, SystemClock};

use crate::batch::{Batch, MAX_CHECKS};

mod times;

use times::Times;
pub use times::{Durations, Sampled};

/// Upper bounds in seconds: 25 us is a Redis on this machine, 40 ms the default timeout.
const CALL_SECONDS: [f64; 13] = [
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.02, 0.04, 0.1,
    0.5,
];

/// Upper bounds in checks, up to as many as a batch holds.
const BATCH_SIZES: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 63.0];
const _: () = assert!(MAX_CHECKS == 63, "the last bound is a full batch");

/// The instruments of a store, on all runtimes; clones are the same ones.
///
/// No batch waits until whoever reads them has written what it read. What is observed for each check
/// is the business of whoever asks the store.
#[derive(Clone, Debug)]
pub struct Instruments {
    durations: Arc<Times>,
    batch_size: Histogram,
    deny_cache_hits: Counter,
    late: Counter,
    clock: SystemClock,
}

impl Instruments {
    /// Instruments of which `registry` shows `toolgate_batch_size`, `toolgate_store_late_replies_total`
    /// and `toolgate_deny_cache_hits_total`. A registry cannot show [`Instruments::durations`], as it
    /// takes no sampled traces.
    pub fn register(registry: &mut Registry) -> Self {
        let instruments = Self {
            durations: Arc::new(Times::new(&CALL_SECONDS)),
            batch_size: Histogram::new(BATCH_SIZES),
            deny_cache_hits: Counter::default(),
            late: Counter::default(),
            clock: SystemClock::new(),
        };
        registry.register(
            "toolgate_batch_size",
            "Checks in one script call to Redis",
            instruments.batch_size.clone(),
        );
        registry.register(
            "toolgate_store_late_replies",
            "Script calls to Redis whose reply did not come in time",
            instruments.late.clone(),
        );
        registry.register(
            "toolgate_deny_cache_hits",
            "Checks that were denied without asking Redis, whose denial is remembered",
            instruments.deny_cache_hits.clone(),
        );
        instruments
    }

    /// How long script calls to Redis took, whatever came of them.
    pub fn durations(&self) -> Durations {
        self.durations.read()
    }

    /// `batch` was sent, and ended after `took`.
    pub(crate) fn sent(&self, batch: &Batch, took: Duration) {
        #[allow(clippy::cast_precision_loss, reason = "some dozens")]
        self.batch_size.observe(batch.plans().count() as f64);
        let trace = batch.plans().find_map(sampled);
        let now = || Duration::from_micros(self.clock.now().as_micros());
        self.durations
            .observe(took, trace.map(|trace_id| (trace_id, now())));
    }

    /// The reply to a batch has not come in time.
    pub(crate) fn late(&self) {
        self.late.inc();
    }

    /// So many denials were remembered.
    pub(crate) fn remembered(&self, denials: usize) {
        // On 64-bit machines they are the same.
        self.deny_cache_hits
            .inc_by(u64::try_from(denials).unwrap_or(u64::MAX));
    }
}

/// The trace to which the check of `plan` belongs, if it is sampled.
fn sampled(plan: &Plan) -> Option<u128> {
    let trace = plan.trace().filter(|trace| trace.is_sampled)?;
    Some(trace.trace_id)
}
