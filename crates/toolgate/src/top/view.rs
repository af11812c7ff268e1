//! What is shown: all replicas together.

mod hot;
mod replica;
mod server;

use std::collections::HashMap;

use tokio::time::Instant;

pub(super) use self::{
    hot::Hot,
    replica::{Replica, State},
    server::Server,
};
use super::{outcomes::Outcomes, replicas::Replicas};

/// One moment of all replicas.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) sum: Sum,
    /// Checks that are being decided.
    pub(super) in_flight: u64,
    pub(super) servers: Vec<Server>,
    pub(super) hot: Vec<Hot>,
    /// By how much the rates of buckets may be too low, in checks a second.
    pub(super) hot_error: f64,
    pub(super) replicas: Vec<Replica>,
}

/// Checks of all replicas that answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sum {
    /// Since each of them started.
    pub(super) counts: Outcomes<u64>,
    /// A second. None: no replica has been read twice.
    pub(super) rates: Option<Outcomes<f64>>,
}

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// Most denied, then most checks.
    #[default]
    Denied,
    /// Most checks.
    Checks,
    /// By name.
    Name,
}

impl View {
    /// What is known `now`.
    pub(super) fn of(replicas: &Replicas, now: Instant) -> Self {
        let mut servers = HashMap::new();
        let mut hot = HashMap::new();
        let mut view = Self::default();
        for replica in replicas.each() {
            let (counts, rates) = (replica.counts(), replica.rates());
            let of_replica = server::add(&mut servers, &counts, rates.as_ref());
            view.sum.add(of_replica);
            if let Some(activity) = replica.activity() {
                view.in_flight += activity.in_flight;
                view.hot_error += activity.hot_bucket_error;
                hot::add(&mut hot, &activity.hot_buckets);
            }
            view.replicas.push(Replica::of(replica, of_replica, now));
        }
        replica::mark_others(&mut view.replicas);
        view.servers = servers.into_values().collect();
        view.hot = hot.into_values().collect();
        view.sort(Sort::default());
        view
    }

    /// Puts servers, limits and buckets in order.
    pub(super) fn sort(&mut self, by: Sort) {
        for server in &mut self.servers {
            server.limits.sort_by(|a, b| by.order(a, b));
        }
        self.servers.sort_by(|a, b| by.order(a, b));
        self.hot.sort_by(|a, b| by.order(a, b));
    }
}

impl Sum {
    fn without_errors(mut self) -> Self {
        self.counts.error = 0;
        if let Some(rates) = &mut self.rates {
            rates.error = 0.0;
        }
        self
    }

    fn add(&mut self, other: Self) {
        self.counts = self.counts.zip(other.counts, |a, b| a + b);
        self.rates = match (self.rates, other.rates) {
            (Some(a), Some(b)) => Some(a.zip(b, |a, b| a + b)),
            (a, b) => a.or(b),
        };
    }
}

/// What can be sorted.
trait Row {
    /// Denied and all checks, a second.
    fn rates(&self) -> (f64, f64);

    fn name(&self) -> String;
}

impl Sort {
    /// The next of them.
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Denied => Self::Checks,
            Self::Checks => Self::Name,
            Self::Name => Self::Denied,
        }
    }

    /// As its key says it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied/s",
            Self::Checks => "checks/s",
            Self::Name => "name",
        }
    }

    fn order(self, a: &impl Row, b: &impl Row) -> std::cmp::Ordering {
        let ((denied_a, all_a), (denied_b, all_b)) = (a.rates(), b.rates());
        let by_name = || a.name().cmp(&b.name());
        let by_checks = || all_b.total_cmp(&all_a).then_with(by_name);
        match self {
            Self::Denied => denied_b.total_cmp(&denied_a).then_with(by_checks),
            Self::Checks => by_checks(),
            Self::Name => by_name(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
