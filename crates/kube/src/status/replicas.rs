//! The replicas that a leader knows, and which of them live.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;

use super::lease::{self, Heartbeat, Progress};

/// How long a Lease lasts.
const LASTING: Duration = Duration::from_secs(lease::SECONDS.unsigned_abs() as u64);

/// How long a Lease is seen unchanged until its replica is forgotten, and the Lease deleted: far longer
/// than a node is cut off and comes back, and short enough that few pile up.
const FORGET_AFTER: Duration = Duration::from_mins(10);

/// How long a replica counts at first sight whose Lease has run out, but is not to be forgotten yet:
/// after an outage of the API server all have, and each renews its own within this time. Were they
/// taken for gone meanwhile, every policy would be written twice.
const FIRST_SIGHT: Duration = Duration::from_secs(12);

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
    /// Since when this replica sees it unchanged.
    unchanged: Timestamp,
}

impl Replicas {
    /// Takes over all Leases that there are at `now`.
    ///
    /// A renewal counts from when it is seen, so that the clock of another node does not matter. At
    /// first sight only the time in the Lease can tell a replica that lives, or may, from one that is
    /// long gone. It is no reason to delete it: the clock of its node may be off.
    pub(super) fn observe(&mut self, leases: &[Lease], now: Timestamp) {
        let mut before = std::mem::take(&mut self.known);
        for lease in leases {
            let (Some(name), Some(heartbeat)) = (&lease.metadata.name, lease::read(lease)) else {
                continue;
            };
            let (seen, unchanged) = match before.remove(name) {
                Some(known) if known.heartbeat.renewed == heartbeat.renewed => {
                    (known.seen, known.unchanged)
                }
                Some(_) => (now, now),
                None => (at_first_sight(heartbeat.renewed, now), now),
            };
            let known = Known {
                heartbeat,
                seen,
                unchanged,
            };
            self.known.insert(name.clone(), known);
        }
    }

    /// The replicas that live at `now`, by name, and how far they are.
    pub(super) fn live(&self, now: Timestamp) -> BTreeMap<&str, &Progress> {
        self.known
            .values()
            .filter(|known| silence(known.seen, now) < LASTING)
            .map(|known| (&*known.heartbeat.replica, &known.heartbeat.progress))
            .collect()
    }

    /// The Leases, by name, that are to be deleted at `now`.
    pub(super) fn forgotten(&self, now: Timestamp) -> impl Iterator<Item = (&str, &Heartbeat)> {
        self.known
            .iter()
            .filter(move |(_, known)| silence(known.unchanged, now) >= FORGET_AFTER)
            .map(|(name, known)| (&**name, &known.heartbeat))
    }
}

fn at_first_sight(renewed: Timestamp, now: Timestamp) -> Timestamp {
    let counts_still = now - LASTING + FIRST_SIGHT;
    if silence(renewed, now) < FORGET_AFTER {
        renewed.clamp(counts_still, now)
    } else {
        renewed
    }
}

fn silence(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default() // a clock that steps back
}

#[cfg(test)]
mod tests;
