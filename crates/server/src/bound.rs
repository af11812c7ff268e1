//! Bounds on what is held at a time.
//!
//! One thing that is held counts against several bounds: of its connection, of its caller, of all. Whoever
//! gets no place hears at once whose bound it was.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// At most so many places are taken at a time. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    taken: Arc<AtomicUsize>,
    max: usize,
}

/// Places that are taken, until dropped.
#[derive(Debug)]
pub(crate) struct Place {
    of: Arc<AtomicUsize>,
    count: usize,
}

/// Places within several bounds, until dropped.
pub(crate) type Places<const N: usize> = [Option<Place>; N];

/// Whose bound it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    Connection,
    Caller,
    All,
}

/// A bound at which there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) whose: Whose,
    pub(crate) max: usize,
}

impl Bound {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            taken: Arc::default(),
            max,
        }
    }

    /// Places that are taken now.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes `count` places, or none.
    pub(crate) fn take(&self, count: usize) -> Option<Place> {
        let fits = |taken: usize| taken.checked_add(count).filter(|&taken| taken <= self.max);
        let taken = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.ok().map(|_| Place {
            of: Arc::clone(&self.taken),
            count,
        })
    }

    /// Takes as many places as there are, and at most `count`.
    fn take_some(&self, count: usize) -> Place {
        let free = |taken: usize| count.min(self.max.saturating_sub(taken));
        let taken = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                Some(taken + free(taken))
            });
        Place {
            of: Arc::clone(&self.taken),
            count: taken.map_or(0, free),
        }
    }
}

impl Place {
    /// Gives back all but `count`.
    fn keep(&mut self, count: usize) {
        let given_back = self.count.saturating_sub(count);
        self.of.fetch_sub(given_back, Ordering::Relaxed);
        self.count -= given_back;
    }
}

/// Takes as many places within each of `bounds` as all of them have, and at most `count`. How many these are,
/// and what refused more of them.
pub(crate) fn take_up_to<const N: usize>(
    bounds: [(Whose, &Bound); N],
    count: usize,
) -> (Places<N>, usize, Option<Full>) {
    let mut places: Places<N> = [const { None }; N];
    let (mut most, mut full) = (count, None);
    for (place, (whose, bound)) in places.iter_mut().zip(bounds) {
        let taken = bound.take_some(most);
        if taken.count < most {
            (most, full) = (
                taken.count,
                Some(Full {
                    whose,
                    max: bound.max,
                }),
            );
        }
        *place = Some(taken);
    }
    for place in places.iter_mut().flatten() {
        place.keep(most);
    }
    (places, most, full)
}

/// Takes `count` places within each of `bounds`, or none.
pub(crate) fn take_within<const N: usize>(
    bounds: [(Whose, &Bound); N],
    count: usize,
) -> Result<Places<N>, Full> {
    let mut places = [const { None }; N];
    for (place, (whose, bound)) in places.iter_mut().zip(bounds) {
        let max = bound.max;
        *place = Some(bound.take(count).ok_or(Full { whose, max })?);
    }
    Ok(places)
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.fetch_sub(self.count, Ordering::Relaxed);
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connection => "this connection",
            Self::Caller => "this caller",
            Self::All => "all callers",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_bound_are_taken_and_each_makes_room_when_it_is_dropped() {
        let bound = Bound::new(10);
        let six = bound.take(6);
        assert!(six.is_some());
        assert!(bound.take(5).is_none());
        assert_eq!(bound.taken(), 6, "what was refused is given back");
        let four = bound.clone().take(4);
        assert!(four.is_some() && bound.take(1).is_none());
        drop(six);
        assert!(bound.take(6).is_some());
    }

    #[test]
    fn what_several_bounds_have_together_is_taken_and_the_rest_is_left() {
        for (of_caller, of_all, taken, whose) in [
            (2, 9, 2, Some(Whose::Caller)),
            (9, 3, 3, Some(Whose::All)),
            (5, 4, 4, Some(Whose::All)),
            (6, 9, 6, None),
            (0, 9, 0, Some(Whose::Caller)),
        ] {
            let (caller, all) = (Bound::new(of_caller), Bound::new(of_all));
            let bounds = [(Whose::Caller, &caller), (Whose::All, &all)];
            let (places, count, full) = take_up_to(bounds, 6);
            assert_eq!((count, full.map(|full| full.whose)), (taken, whose));
            assert_eq!((caller.taken(), all.taken()), (taken, taken));
            drop(places);
            assert_eq!((caller.taken(), all.taken()), (0, 0));
        }
    }

    #[test]
    fn what_one_of_several_bounds_refuses_takes_no_place_of_the_others() {
        let (own, all) = (Bound::new(2), Bound::new(3));
        let take = |own| take_within([(Whose::Caller, own), (Whose::All, &all)], 2);
        let taken = take(&own).expect("there is room");
        let whose = |refused: Result<_, Full>| refused.map(|_| ()).expect_err("full");
        let (caller, max) = (Whose::Caller, 2);
        assert_eq!(whose(take(&own)), Full { whose: caller, max });
        let other = Bound::new(2);
        let all_of_them = Full {
            whose: Whose::All,
            max: 3,
        };
        assert_eq!(whose(take(&other)), all_of_them);
        assert_eq!((own.taken(), other.taken(), all.taken()), (2, 0, 2));
        drop(taken);
        assert_eq!((own.taken(), all.taken()), (0, 0));
    }
}
