//! What a replica does while its store does not decide.
//!
//! ```text
//! check -> Breaker: closed? -> store ----decided----> the answer
//!             |                   `-failed, or always late: open the breaker
//!             `-open------------------------> Local buckets -> the answer, degraded
//!                                             (or the error, with `outage: unavailable`)
//! Monitor -> a probe at once, and then at intervals; one that succeeds closes the breaker
//!         -> Failures: checks fail again and again all the same? -> degraded, until they do not
//! ```
//!
//! # Why a replica that decides alone never denies wrongly
//!
//! A local bucket has the quota of the shared one, starts full, fills at the same rate, and pays
//! for some of the calls that run: those that this replica lets through alone. The shared bucket,
//! were it told of every call that runs, would pay for these and more. So it never holds more than
//! the local one, and where the local one lacks the tokens, so would it. What the replica does not
//! know can only make it too generous, by at most one more capacity (docs/adr/011).
//!
//! For the same reason nothing is denied wrongly by buckets that are kept from one outage to the
//! next: they have paid for calls that ran. They are kept for [`KEPT`] after a recovery, so that a
//! store that comes and goes hands out no fresh burst each time, and then dropped.

mod breaker;
mod course;
mod failures;
mod limiter;
mod local;

use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;
use toolgate_limit::StoreError;

pub use breaker::StoreState;
pub(crate) use breaker::{Breaker, LATE_FOR};
pub(crate) use course::Course;
pub(crate) use failures::Verdict;
pub(crate) use limiter::ReplicaLimiter;
pub(crate) use local::LocalBuckets;

/// How long a store must decide everything before what local buckets have learned is dropped.
/// Outages that follow each other sooner are one outage, with one burst from local buckets.
pub(crate) const KEPT: Duration = Duration::from_mins(1);

/// What becomes of checks while the store does not decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OnOutage {
    /// The replica decides alone, on buckets of the same limits in its memory; answers say
    /// `degraded`
    #[default]
    Local,
    /// They are answered with UNAVAILABLE
    Unavailable,
}

/// Whether `error` says that the store decides nothing for now.
///
/// Too many checks at a time are load: the store decides, only not all of them. A value that cannot
/// be read, or a part of the store that is down, concerns the checks that touch it.
const fn is_outage(error: &StoreError) -> bool {
    !matches!(
        error,
        StoreError::Overloaded
            | StoreError::Full { .. }
            | StoreError::Corrupt(_)
            | StoreError::Partial { .. }
    )
}
