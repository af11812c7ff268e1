//! The bound on checks in flight.

use std::sync::atomic::{AtomicUsize, Ordering};

use tonic::Status;

/// Counts the checks of this replica that are being decided, and refuses what is above the bound at
/// once: a caller that fails open is better served so than by waiting.
#[derive(Debug)]
pub(crate) struct CheckBound {
    max: usize,
    count: AtomicUsize,
}

/// Checks that are being decided, until dropped.
pub(super) struct Admitted<'a> {
    to: &'a CheckBound,
    count: usize,
}

impl CheckBound {
    /// At most `max` at a time.
    pub(crate) const fn new(max: usize) -> Self {
        Self {
            max,
            count: AtomicUsize::new(0),
        }
    }

    /// Admits `count` checks, or none.
    pub(super) fn admit(&self, count: usize) -> Option<Admitted<'_>> {
        let before = self.count.fetch_add(count, Ordering::Relaxed);
        // Gives back what it holds, when it is refused too.
        let admitted = Admitted { to: self, count };
        (before + count <= self.max).then_some(admitted)
    }

    /// Checks that are being decided now.
    pub(crate) fn in_flight(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// What those hear who are not admitted.
    pub(super) fn too_many(&self) -> Status {
        let max = self.max;
        Status::resource_exhausted(format!(
            "{max} checks are in flight, which is the most that may"
        ))
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.to.count.fetch_sub(self.count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_bound_are_admitted_and_each_makes_room_when_it_is_done() {
        let bound = CheckBound::new(10);
        let six = bound.admit(6);
        assert!(six.is_some());
        assert!(bound.admit(5).is_none());
        assert_eq!(bound.in_flight(), 6);
        let four = bound.admit(4);
        assert!(four.is_some());
        assert!(bound.admit(1).is_none());
        drop(six);
        assert!(bound.admit(6).is_some());
    }
}
