//! The replicas that a leader knows, and which of them live.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;

use super::lease::{self, Heartbeat, Progress};

/// How long after its last sign of life a replica is forgotten, and its Lease deleted: far longer
/// than a node is cut off and comes back, and short enough that few pile up.
const FORGET_AFTER: Duration = Duration::from_mins(10);

/// What the Leases of replicas say.
#[derive(Debug, Default)]
pub(super) struct Replicas {
    known: BTreeMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    heartbeat: Heartbeat,
    /// When it last gave a sign of life, by the clock of this replica.
    seen: Timestamp,
}

impl Replicas {
    /// Takes over all Leases that there are at `now`.
    ///
    /// A renewal counts from when it is seen, so that the clock of another node does not matter. At
    /// first sight only the time in the Lease can tell a live replica from one that is long gone.
    pub(super) fn observe(&mut self, leases: &[Lease], now: Timestamp) {
        let mut before = std::mem::take(&mut self.known);
        for lease in leases {
            let (Some(name), Some(heartbeat)) = (&lease.metadata.name, lease::read(lease)) else {
                continue;
            };
            let seen = match before.remove(name) {
                Some(known) if known.heartbeat.renewed == heartbeat.renewed => known.seen,
                Some(_) => now,
                None => heartbeat.renewed.min(now),
            };
            self.known.insert(name.clone(), Known { heartbeat, seen });
        }
    }

    /// The replicas that live at `now`, by name, and how far they are.
    pub(super) fn live(&self, now: Timestamp) -> BTreeMap<&str, &Progress> {
        let lasting = Duration::from_secs(u64::from(lease::SECONDS.unsigned_abs()));
        self.known
            .values()
            .filter(|known| known.silent_for(now) < lasting)
            .map(|known| (&*known.heartbeat.replica, &known.heartbeat.progress))
            .collect()
    }

    /// The Leases, by name, that are to be deleted at `now`.
    pub(super) fn forgotten(&self, now: Timestamp) -> impl Iterator<Item = (&str, &Heartbeat)> {
        self.known
            .iter()
            .filter(move |(_, known)| known.silent_for(now) >= FORGET_AFTER)
            .map(|(name, known)| (&**name, &known.heartbeat))
    }
}

impl Known {
    fn silent_for(&self, now: Timestamp) -> Duration {
        Duration::try_from(now.duration_since(self.seen)).unwrap_or_default() // a clock that steps back
    }
}

#[cfg(test)]
mod tests;
