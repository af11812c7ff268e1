//! Checks that the store did not decide.

use std::{
    iter,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use toolgate_limit::StoreError;
use toolgate_redis::ErrorClass;

/// Kinds of [`StoreError`] that are no class of Redis's.
const KINDS: [&str; 4] = ["timeout", "full", "overloaded", "corrupt"];

/// Counts them by [`StoreError::kind`], or not at all. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoreErrors(Option<Arc<[AtomicU64; KINDS.len() + ErrorClass::ALL.len()]>>);

impl StoreErrors {
    pub(super) fn counted() -> Self {
        Self(Some(Arc::new(std::array::from_fn(|_| AtomicU64::new(0)))))
    }

    /// One check was not decided.
    pub(crate) fn count(&self, error: &StoreError) {
        let Some(counts) = &self.0 else { return };
        let kind = error.kind();
        let place = kinds().position(|known| known == kind);
        // The last class is any other.
        let place = place.unwrap_or(counts.len() - 1);
        counts[place].fetch_add(1, Ordering::Relaxed);
    }

    /// Every kind is there from the start, so that a first failure is an increase.
    pub(super) fn series(&self) -> impl Iterator<Item = ([(&'static str, &'static str); 1], u64)> {
        let counts = self.0.iter().flat_map(|counts| counts.iter());
        let labels = kinds().map(|kind| [("kind", kind)]);
        labels.zip(counts.map(|count| count.load(Ordering::Relaxed)))
    }
}

fn kinds() -> impl Iterator<Item = &'static str> {
    let classes = ErrorClass::ALL.into_iter().map(ErrorClass::as_str);
    iter::chain(KINDS, classes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_kind_is_counted_by_its_name_and_an_unknown_one_as_other() {
        let errors = StoreErrors::counted();
        let unavailable = |kind| StoreError::Unavailable {
            kind,
            reason: String::new(),
            source: None,
        };
        let timeout = StoreError::Timeout {
            after: Duration::ZERO,
        };
        errors.count(&timeout);
        errors.count(&StoreError::Partial {
            part: "one node".into(),
            error: Box::new(timeout),
        });
        errors.count(&StoreError::Full { max: 1 });
        errors.count(&StoreError::Overloaded);
        errors.count(&StoreError::Corrupt(String::new()));
        errors.count(&unavailable("readonly"));
        errors.count(&unavailable("never heard of"));
        let mut counted: Vec<_> = errors
            .series()
            .filter(|(_, count)| *count > 0)
            .map(|([(_, kind)], count)| (kind, count))
            .collect();
        counted.sort_unstable();
        let expected = [
            ("corrupt", 1),
            ("full", 1),
            ("other", 1),
            ("overloaded", 1),
            ("readonly", 1),
            ("timeout", 2),
        ];
        assert_eq!(counted, expected);
        assert_eq!(errors.series().count(), KINDS.len() + ErrorClass::ALL.len());
    }
}
