//! A status that is to be written.

use crate::{RateLimitPolicyStatus, source::Judged};

pub(super) struct Due {
    pub(super) object: Judged,
    /// That of the object from which the status is made.
    pub(super) resource_version: String,
    pub(super) before: RateLimitPolicyStatus,
    pub(super) after: RateLimitPolicyStatus,
}

impl Due {
    /// First a new generation, then a condition that has another status now, and last of all what
    /// changes in every policy when a replica comes or goes.
    pub(super) fn rank(&self) -> u8 {
        if self.before.observed_generation != self.after.observed_generation {
            0
        } else if statuses(&self.before).ne(statuses(&self.after)) {
            1
        } else {
            2
        }
    }
}

fn statuses(status: &RateLimitPolicyStatus) -> impl Iterator<Item = (&str, &str)> {
    let conditions = status.conditions.iter();
    conditions.map(|one| (&*one.type_, &*one.status))
}
