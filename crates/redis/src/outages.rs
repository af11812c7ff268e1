//! What is logged of connections: each outage once, however many of them it takes down.
//!
//! Each runtime of a process has connections of its own, which lose Redis together.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// The connections of one process to one store, by where they lead.
#[derive(Debug, Default)]
pub(crate) struct Outages(Mutex<HashMap<String, Account>>);

/// All connections that lead to one place.
#[derive(Debug, Default)]
struct Account {
    members: usize,
    /// Those that are not up.
    troubled: usize,
    /// The worst that was told since the last time that all were up.
    told: Told,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    #[default]
    Nothing,
    Lost,
    Down,
}

/// One connection. Its methods say whether a change is news.
#[derive(Debug)]
pub(crate) struct Member {
    outages: Arc<Outages>,
    place: String,
    is_up: bool,
}

impl Member {
    /// A connection that leads to `place`, and is not up yet.
    pub(crate) fn new(outages: &Arc<Outages>, place: String) -> Self {
        outages.change(&place, |account| {
            account.members += 1;
            account.troubled += 1;
        });
        Self {
            outages: Arc::clone(outages),
            place,
            is_up: false,
        }
    }

    /// It is up. News if it is the last one that was not.
    pub(crate) fn up(&mut self) -> bool {
        let was_up = std::mem::replace(&mut self.is_up, true);
        !was_up
            && self.outages.change(&self.place, |account| {
                account.troubled -= 1;
                account.ends_if_all_are_up()
            })
    }

    /// It was up, and is no more. News if nothing was told since all were up.
    pub(crate) fn lost(&mut self) -> bool {
        let was_up = std::mem::replace(&mut self.is_up, false);
        self.outages.change(&self.place, |account| {
            account.troubled += usize::from(was_up);
            account.is_news(Told::Lost)
        })
    }

    /// It cannot be made. News if that was not told since all were up.
    pub(crate) fn down(&mut self) -> bool {
        let was_up = std::mem::replace(&mut self.is_up, false);
        self.outages.change(&self.place, |account| {
            account.troubled += usize::from(was_up);
            account.is_news(Told::Down)
        })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.outages.change(&self.place, |account| {
            account.members -= 1;
            account.troubled -= usize::from(!self.is_up);
            account.ends_if_all_are_up();
        });
    }
}

impl Account {
    fn ends_if_all_are_up(&mut self) -> bool {
        if self.troubled == 0 {
            self.told = Told::Nothing;
        }
        self.troubled == 0
    }

    fn is_news(&mut self, what: Told) -> bool {
        let is_news = self.told < what;
        self.told = self.told.max(what);
        is_news
    }
}

impl Outages {
    fn change<T>(&self, place: &str, change: impl FnOnce(&mut Account) -> T) -> T {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let account = accounts.entry(place.to_owned()).or_default();
        let changed = change(account);
        // Nodes of a cluster come and go.
        if account.members == 0 {
            accounts.remove(place);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members<const N: usize>(outages: &Arc<Outages>) -> [Member; N] {
        std::array::from_fn(|_| Member::new(outages, "redis".to_owned()))
    }

    /// "Redis does not decide" was logged once by each worker, and once more by the monitor.
    #[test]
    fn an_outage_of_all_connections_is_told_once_and_so_is_its_end() {
        let outages = Arc::default();
        let mut three: [_; 3] = members(&outages);
        for _ in 0..2 {
            assert_eq!(three.each_mut().map(Member::up), [false, false, true]);
            assert_eq!(three.each_mut().map(Member::lost), [true, false, false]);
            assert_eq!(three.each_mut().map(Member::down), [true, false, false]);
            assert_eq!(three.each_mut().map(Member::down), [false; 3]);
            assert!(!three[0].up());
            assert!(!three[1].down(), "the others are not back yet");
            assert!(!three[1].up());
            assert!(three[2].up());
            assert_eq!(three.each_mut().map(Member::lost), [true, false, false]);
        }
    }

    #[test]
    fn a_connection_that_was_never_up_is_told_too() {
        let outages = Arc::default();
        let mut two: [_; 2] = members(&outages);
        assert_eq!(two.each_mut().map(Member::down), [true, false]);
        assert_eq!(two.each_mut().map(Member::up), [false, true]);
    }

    #[test]
    fn places_have_outages_of_their_own() {
        let outages = Arc::default();
        let mut one = Member::new(&outages, "one".to_owned());
        let mut other = Member::new(&outages, "other".to_owned());
        assert!(one.down() && other.down());
    }

    #[test]
    fn who_leaves_holds_up_no_end_and_takes_the_account_with_it() {
        let outages = Arc::default();
        let [mut stays, mut leaves]: [_; 2] = members(&outages);
        assert!(leaves.down());
        assert!(!stays.up());
        drop(leaves);
        assert!(stays.lost(), "a new outage");
        drop(stays);
        assert!(outages.0.lock().unwrap().is_empty());
    }
}
