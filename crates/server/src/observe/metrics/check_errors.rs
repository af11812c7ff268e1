//! Checks that got an error instead of a decision.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tonic::Code;

/// All codes that are an error, by the names that gRPC gives them.
pub(super) const FAILURES: [(Code, &str); 16] = [
    (Code::Cancelled, "CANCELLED"),
    (Code::Unknown, "UNKNOWN"),
    (Code::InvalidArgument, "INVALID_ARGUMENT"),
    (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
    (Code::NotFound, "NOT_FOUND"),
    (Code::AlreadyExists, "ALREADY_EXISTS"),
    (Code::PermissionDenied, "PERMISSION_DENIED"),
    (Code::ResourceExhausted, "RESOURCE_EXHAUSTED"),
    (Code::FailedPrecondition, "FAILED_PRECONDITION"),
    (Code::Aborted, "ABORTED"),
    (Code::OutOfRange, "OUT_OF_RANGE"),
    (Code::Unimplemented, "UNIMPLEMENTED"),
    (Code::Internal, "INTERNAL"),
    (Code::Unavailable, "UNAVAILABLE"),
    (Code::DataLoss, "DATA_LOSS"),
    (Code::Unauthenticated, "UNAUTHENTICATED"),
];

/// Counts them by code, or not at all. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct CheckErrors(Option<Arc<[AtomicU64; FAILURES.len() + 1]>>);

/// Checks that were read and have no answer yet. Dropped before they have one, they count as
/// cancelled: whoever asked has gone.
#[derive(Debug)]
pub(crate) struct Unanswered {
    checks: u64,
    errors: CheckErrors,
}

impl CheckErrors {
    pub(super) fn counted() -> Self {
        Self(Some(Arc::default()))
    }

    /// One check got `code`.
    pub(crate) fn count(&self, code: Code) {
        self.add(code, 1);
    }

    /// So many checks, of which an answer is owed.
    pub(crate) fn unanswered(&self, checks: u64) -> Unanswered {
        Unanswered {
            checks,
            errors: self.clone(),
        }
    }

    fn add(&self, code: Code, checks: u64) {
        if let Some(counts) = &self.0 {
            counts[code as usize].fetch_add(checks, Ordering::Relaxed);
        }
    }

    pub(super) fn get(&self, code: Code) -> u64 {
        let counts = self.0.as_ref();
        counts.map_or(0, |counts| counts[code as usize].load(Ordering::Relaxed))
    }
}

impl Unanswered {
    /// One more check.
    pub(crate) const fn one_more(&mut self) {
        self.checks += 1;
    }

    /// One has an answer, which is counted elsewhere, or got `code`.
    pub(crate) fn one_answered(&mut self, code: Option<Code>) {
        self.checks -= 1;
        if let Some(code) = code {
            self.errors.count(code);
        }
    }

    /// All have an answer, which is counted elsewhere.
    pub(crate) fn answered(mut self) {
        self.checks = 0;
    }

    /// All got `code`.
    pub(crate) fn failed(mut self, code: Code) {
        self.errors.add(code, self.checks);
        self.checks = 0;
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if self.checks > 0 {
            self.errors.add(Code::Cancelled, self.checks);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_a_place_and_the_name_that_grpc_gives_it() {
        let errors = CheckErrors::counted();
        for (code, name) in FAILURES {
            let compact = name.replace('_', "").to_lowercase();
            assert_eq!(format!("{code:?}").to_lowercase(), compact);
            errors.count(code);
        }
        for (code, _) in FAILURES {
            assert_eq!(errors.get(code), 1, "{code:?}");
        }
        let codes: std::collections::HashSet<_> = FAILURES.map(|(code, _)| code as usize).into();
        assert_eq!(codes, (1..=16).collect(), "all but OK");
    }

    #[test]
    fn a_check_counts_once_whether_it_is_answered_fails_or_is_given_up() {
        let errors = CheckErrors::counted();
        let mut given_up = errors.unanswered(2);
        given_up.one_more();
        drop(given_up);
        errors.unanswered(5).answered();
        errors.unanswered(4).failed(Code::DeadlineExceeded);
        assert_eq!(errors.get(Code::Cancelled), 3);
        assert_eq!(errors.get(Code::DeadlineExceeded), 4);
    }

    #[test]
    fn nothing_is_counted_where_nothing_is_shown() {
        let errors = CheckErrors::default();
        errors.count(Code::Internal);
        drop(errors.unanswered(1));
        assert_eq!(errors.get(Code::Internal), 0);
    }
}
