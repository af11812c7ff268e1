//! Checks by what came of them.

use std::ops::AddAssign;

use serde::Serialize;
use toolgate_proto::pb::CheckOutcome;

/// One number for each outcome: counts, or rates in checks a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcomes<T> {
    pub(crate) allowed: T,
    pub(crate) denied: T,
    /// Allowed by a policy in shadow mode, which would have denied them.
    pub(crate) shadow_denied: T,
    /// Allowed, as nothing limits them.
    pub(crate) unlimited: T,
    /// Not decided.
    pub(crate) error: T,
}

impl<T: AddAssign + Copy + Default> Outcomes<T> {
    /// Adds what went one way. Of an outcome that this build does not know nothing is known.
    pub(crate) fn add(&mut self, outcome: CheckOutcome, number: T) {
        match outcome {
            CheckOutcome::Allowed => self.allowed += number,
            CheckOutcome::Denied => self.denied += number,
            CheckOutcome::ShadowDenied => self.shadow_denied += number,
            CheckOutcome::Unlimited => self.unlimited += number,
            CheckOutcome::Error => self.error += number,
            CheckOutcome::Unspecified => {}
        }
    }

    /// All checks.
    pub(crate) fn all(&self) -> T {
        let mut all = T::default();
        for number in [
            self.allowed,
            self.denied,
            self.shadow_denied,
            self.unlimited,
            self.error,
        ] {
            all += number;
        }
        all
    }
}

impl<T: Copy> Outcomes<T> {
    /// Each number with that of `other`.
    pub(crate) fn zip<U: Copy, R>(self, other: Outcomes<U>, of: impl Fn(T, U) -> R) -> Outcomes<R> {
        Outcomes {
            allowed: of(self.allowed, other.allowed),
            denied: of(self.denied, other.denied),
            shadow_denied: of(self.shadow_denied, other.shadow_denied),
            unlimited: of(self.unlimited, other.unlimited),
            error: of(self.error, other.error),
        }
    }
}
