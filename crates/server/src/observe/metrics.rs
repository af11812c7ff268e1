//! What a limiter shows in Prometheus.
//!
//! ```text
//! each worker:  Tally (an Observer)  -- checks by outcome, how long they took
//!               CheckErrors          -- checks that got an error instead
//! all workers:  StoreErrors, the instruments of the Redis store
//! at a scrape:  the workers summed, and Replica: gauges of what is now
//! ```
//!
//! Counts of every check belong to one worker, so that workers share nothing while they decide.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::{
    collector::Collector, encoding::DescriptorEncoder, registry::Registry as Exposed,
};
use tonic::Code;
use toolgate_policy::Registry;
use toolgate_redis::{Durations, Instruments, Sampled};
use toolgate_telemetry::{Distribution, Exemplar, counters};

mod check_errors;
mod counts;
mod replica;
mod store_errors;
mod tally;

pub(crate) use check_errors::{CheckErrors, Unanswered};
pub(crate) use counts::{Course, Target};
pub(crate) use replica::Replica;
pub(crate) use store_errors::StoreErrors;
pub(crate) use tally::Tally;

use check_errors::FAILURES;
use counts::{Counted, Counts};

/// Upper bounds in seconds: 25 us is a check in memory, 40 ms the default timeout of Redis.
const CHECK_SECONDS: [f64; 14] = [
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 1.0,
];

/// What a limiter counts, and the registry in which it is shown.
#[derive(Debug)]
pub(crate) struct Metrics {
    exposed: Exposed,
    counters: Counters,
    redis: Option<Instruments>,
}

/// What all workers count. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    policies: Arc<Registry>,
    workers: Arc<Mutex<Vec<Arc<Tally>>>>,
    store_errors: StoreErrors,
}

impl Metrics {
    /// Of a limiter with these policies.
    pub(crate) fn new(policies: Arc<Registry>) -> Self {
        Self {
            exposed: toolgate_telemetry::registry("toolgate", env!("CARGO_PKG_VERSION")),
            counters: Counters {
                policies,
                workers: Arc::default(),
                store_errors: StoreErrors::counted(),
            },
            redis: None,
        }
    }

    /// Instruments for the Redis store.
    pub(crate) fn redis(&mut self) -> Instruments {
        let instruments = Instruments::register(&mut self.exposed);
        self.redis.insert(instruments).clone()
    }

    /// Instruments for a source of policies in a cluster.
    pub(crate) fn kubernetes(&mut self) -> toolgate_kube::Instruments {
        toolgate_kube::Instruments::register(&mut self.exposed)
    }

    /// What checks are counted in.
    pub(crate) const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// All that `/metrics` shows of `replica`.
    pub(crate) fn expose(mut self, replica: Replica) -> toolgate_telemetry::Metrics {
        let counters = self.counters.clone();
        self.exposed.register_collector(Box::new(replica));
        self.exposed.register_collector(Box::new(self.counters));
        let mut exposed = toolgate_telemetry::Metrics::new(self.exposed);
        exposed.histogram_in_seconds(
            "toolgate_check_duration",
            "How long checks took from when they were read to their answers, or until they were given up",
            move || counters.durations(),
        );
        if let Some(redis) = self.redis {
            exposed.histogram_in_seconds(
                "toolgate_store_duration",
                "How long script calls to Redis took, whatever came of them",
                move || store_durations(redis.durations()),
            );
        }
        exposed
    }
}

fn store_durations(of_store: Durations) -> Distribution {
    let exemplar = |sampled: Sampled| Exemplar {
        trace_id: sampled.trace_id,
        value: sampled.seconds,
        at: sampled.at,
    };
    let buckets = of_store.buckets.into_iter();
    let buckets = buckets.map(|(count, sampled)| (count, sampled.map(exemplar)));
    Distribution::of(of_store.bounds, buckets, of_store.sum.as_secs_f64())
}

impl Counters {
    /// That of one worker more.
    pub(crate) fn tally_of_worker(&self) -> Arc<Tally> {
        let tally = Arc::new(Tally::new(Arc::clone(&self.policies)));
        self.workers().push(Arc::clone(&tally));
        tally
    }

    pub(crate) const fn store_errors(&self) -> &StoreErrors {
        &self.store_errors
    }

    fn durations(&self) -> Distribution {
        let mut sum = Distribution::new(&CHECK_SECONDS);
        for tally in &*self.workers() {
            sum.add(&tally.durations());
        }
        sum
    }

    /// All checks that were decided, by the limit that refused.
    pub(crate) fn by_limit(&self) -> Vec<Counted> {
        self.counts().by_limit()
    }

    fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for tally in &*self.workers() {
            sum.add(tally.counts());
        }
        sum
    }

    /// All checks that got an error.
    pub(crate) fn errors(&self) -> u64 {
        FAILURES.map(|(code, _)| self.failed(code)).iter().sum()
    }

    fn failed(&self, code: Code) -> u64 {
        let workers = self.workers();
        workers.iter().map(|tally| tally.errors.get(code)).sum()
    }

    /// No update is ever left half done by a panic, so a poisoned lock is as good as any.
    fn workers(&self) -> MutexGuard<'_, Vec<Arc<Tally>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Counters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counts = self.counts();
        counters(
            &mut encoder,
            "toolgate_checks",
            "Checks that were decided, by what was decided; a denial by the limit that refused",
            counts
                .series()
                .iter()
                .map(|series| (series.labels(), series.count)),
        )?;
        counters(
            &mut encoder,
            "toolgate_degraded_checks",
            "Checks that were decided without the store, on buckets of this replica alone, by what was decided",
            counts
                .degraded()
                .map(|(decision, count)| ([("decision", decision)], count)),
        )?;
        counters(
            &mut encoder,
            "toolgate_check_errors",
            "Checks that got an error instead of a decision, by gRPC code",
            FAILURES.map(|(code, name)| ([("code", name)], self.failed(code))),
        )?;
        counters(
            &mut encoder,
            "toolgate_store_errors",
            "Checks that the store was asked for and did not decide, by why",
            self.store_errors.series(),
        )
    }
}

#[cfg(test)]
mod tests;
