//! What a source shows of itself in Prometheus.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use toolgate_policy::Kind;

use crate::{
    objects::ObjectKey,
    resolve::{Reading, Resolution, Verdict},
};

/// The instruments of a source; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Instruments {
    failures: Family<[(&'static str, &'static str); 1], Counter>,
    objects: Family<[(&'static str, &'static str); 2], Gauge>,
}

impl Instruments {
    /// Instruments that `registry` shows: `toolgate_kubernetes_watch_failures_total` and
    /// `toolgate_kubernetes_objects`.
    pub fn register(registry: &mut Registry) -> Self {
        let instruments = Self::default();
        registry.register(
            "toolgate_kubernetes_watch_failures",
            "Tries to list or watch objects of the cluster that failed, by kind",
            instruments.failures.clone(),
        );
        registry.register(
            "toolgate_kubernetes_objects",
            "Objects of the cluster that limit a server, by kind and what became of them",
            instruments.objects.clone(),
        );
        for kind in Kind::ALL {
            // A series that begins at zero shows the first failure.
            drop(
                instruments
                    .failures
                    .get_or_create(&[("kind", kind.as_str())]),
            );
        }
        instruments
    }

    pub(crate) fn failed(&self, kind: &'static str) {
        self.failures.get_or_create(&[("kind", kind)]).inc();
    }

    pub(crate) fn resolved(&self, resolution: &Resolution) {
        for kind in Kind::ALL {
            for name in VERDICTS {
                let counts = |(key, verdict): &(&ObjectKey, &Verdict)| {
                    key.kind == kind && name_of(verdict) == name
                };
                let count = resolution.verdicts.iter().filter(counts).count();
                let labels = [("kind", kind.as_str()), ("verdict", name)];
                let gauge = self.objects.get_or_create(&labels);
                gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
    }
}

const VERDICTS: [&str; 3] = ["in_force", "rejected", "conflicted"];

fn name_of(verdict: &Verdict) -> &'static str {
    let [in_force, rejected, conflicted] = VERDICTS;
    match verdict {
        Verdict {
            reading: Reading::Rejected { .. },
            ..
        } => rejected,
        Verdict {
            loses_to: Some(_), ..
        } => conflicted,
        Verdict { .. } => in_force,
    }
}
