//! What one caller may hold of what all callers share.
//!
//! ```text
//! connection -> its caller: by certificate, else by address    shares/key.rs
//!            -> a place among the connections of that caller
//!            -> an allowance: what it may have in flight       shares/allowance.rs
//! ```
//!
//! A caller has less than all may have together, so that one that takes all it can shuts nobody out. Its
//! share lasts as long as it has a connection, so there are no more shares than connections.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use crate::{
    ConnectionBounds,
    bound::{Bound, Place},
    closed::{Closed, Why},
};

mod allowance;
mod key;

pub(crate) use allowance::{Allowance, Level, Purpose};
pub(crate) use key::CallerKey;

/// The most queries in flight, of one caller and of all.
const QUERIES: (usize, usize) = (32, 64);

/// The shares of all callers.
#[derive(Debug)]
pub(crate) struct CallerShares {
    bounds: ConnectionBounds,
    all: Level,
    closed: Closed,
    callers: Mutex<HashMap<CallerKey, Weak<CallerShare>>>,
}

/// The share of one caller.
#[derive(Debug)]
struct CallerShare {
    key: CallerKey,
    connections: Bound,
    in_flight: Level,
    among: Arc<CallerShares>,
}

/// A place among the connections of a caller, until dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    caller: Arc<CallerShare>,
    _place: Place,
}

impl CallerShares {
    /// Where all callers may have `max_checks` checks in flight.
    pub(crate) fn new(bounds: ConnectionBounds, max_checks: usize) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            all: Level::new(bounds.max_calls, max_checks, QUERIES.1),
            closed: Closed::default(),
            callers: Mutex::default(),
        })
    }

    /// What all callers have in flight.
    pub(crate) const fn all(&self) -> &Level {
        &self.all
    }

    /// Connections that were closed, as these and others had none to give.
    pub(crate) const fn closed(&self) -> &Closed {
        &self.closed
    }

    /// A place for a connection of the caller `key`. None: it is to be closed, and was counted.
    pub(crate) fn seat(self: &Arc<Self>, key: CallerKey) -> Option<Seat> {
        let caller = self.share(key);
        let Some(place) = caller.connections.take(1) else {
            self.closed.count(Why::CallerFull);
            return None;
        };
        Some(Seat {
            caller,
            _place: place,
        })
    }

    fn share(self: &Arc<Self>, key: CallerKey) -> Arc<CallerShare> {
        let mut callers = self.callers();
        if let Some(share) = callers.get(&key).and_then(Weak::upgrade) {
            return share;
        }
        let bounds = &self.bounds;
        let (calls, checks) = (bounds.max_calls_per_caller, bounds.max_checks_per_caller);
        let share = Arc::new(CallerShare {
            key,
            connections: Bound::new(bounds.max_per_caller),
            in_flight: Level::new(calls, checks, QUERIES.0),
            among: Arc::clone(self),
        });
        callers.insert(key, Arc::downgrade(&share));
        share
    }

    /// No update is ever left half done by a panic, so a poisoned lock is as good as any.
    fn callers(&self) -> MutexGuard<'_, HashMap<CallerKey, Weak<CallerShare>>> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CallerShare {
    fn drop(&mut self) {
        let mut callers = self.among.callers();
        // The caller may have come again meanwhile, with a share of its own.
        if callers
            .get(&self.key)
            .is_some_and(|share| share.strong_count() == 0)
        {
            callers.remove(&self.key);
        }
    }
}

impl Seat {
    /// The seat of the same connection once it is known who its caller is.
    pub(crate) fn known_as(self, key: CallerKey) -> Option<Self> {
        self.caller.among.seat(key)
    }

    /// What the connection may have in flight.
    pub(crate) fn allowance(&self) -> Allowance {
        Allowance::new(&self.caller.in_flight, &self.caller.among.all)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::ConnectionSettings;

    fn shares() -> Arc<CallerShares> {
        let settings = ConnectionSettings {
            max_per_caller: Some(2),
            max_calls_per_caller: Some(3),
            max_checks_per_caller: Some(4),
            ..ConnectionSettings::default()
        };
        CallerShares::new(settings.into_bounds(100).expect("bounds"), 100)
    }

    fn key(number: u8) -> CallerKey {
        CallerKey::of_ip(IpAddr::from([127, 0, 0, number]))
    }

    #[test]
    fn a_caller_has_its_share_of_connections_and_leaves_nothing_behind() {
        let shares = shares();
        let seats = [shares.seat(key(1)), shares.seat(key(1))];
        assert!(seats.iter().all(Option::is_some));
        assert!(shares.seat(key(1)).is_none());
        let other = shares.seat(key(2)).expect("another caller");
        assert_eq!(shares.callers().len(), 2);
        drop(seats);
        assert_eq!(shares.callers().len(), 1);
        let known = other.known_as(key(3)).expect("room");
        assert!(shares.callers().contains_key(&key(3)));
        drop(known);
        assert!(shares.callers().is_empty());
    }

    #[test]
    fn connections_of_a_caller_share_what_it_may_have_in_flight() {
        let shares = shares();
        let [one, two] = [(); 2].map(|()| shares.seat(key(1)).expect("room"));
        let other = shares.seat(key(2)).expect("room").allowance();
        let (one, two) = (one.allowance(), two.allowance());
        let [three, last] = [one.checks(3), two.checks(2)];
        assert_eq!((three.1, three.2, last.1), (3, None, 1));
        assert_eq!(two.check().map(|_| ()).expect_err("full").max, 4);
        assert_eq!(other.checks(4).1, 4);
        let _calls: Vec<_> = (0..3).map(|_| one.call().expect("room")).collect();
        assert_eq!(two.call().map(|_| ()).expect_err("full").max, 3);
        assert!(other.call().is_ok());
    }
}
