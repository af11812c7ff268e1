//! How many requests may be in flight, to one backend or searches: of all callers, and of one.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::user::User;

/// The slots of one backend, or of all searches. Each request in flight has one.
#[derive(Debug)]
pub(crate) struct Slots {
    most: usize,
    most_of_one: usize,
    taken: Mutex<Taken>,
}

/// Only users with a request in flight have an entry.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of_one: HashMap<User, usize>,
}

/// No slot is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// All callers together have this many.
    OfAll(usize),
    /// The caller alone has this many.
    OfOne(usize),
}

/// The right to have one request in flight, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    user: User,
}

impl Slots {
    /// `most` slots, of which one caller has at most `most_of_one`.
    pub(crate) fn new(most: usize, most_of_one: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            most_of_one,
            taken: Mutex::default(),
        })
    }

    /// A slot, if one is free for `user`. It does not wait.
    pub(crate) fn take(self: &Arc<Self>, user: User) -> Result<Slot, Full> {
        let mut taken = self.taken();
        let of_one = taken.of_one.get(&user).copied().unwrap_or(0);
        if taken.all >= self.most {
            return Err(Full::OfAll(self.most));
        }
        if of_one >= self.most_of_one {
            return Err(Full::OfOne(self.most_of_one));
        }
        taken.all += 1;
        taken.of_one.insert(user.clone(), of_one + 1);
        Ok(Slot {
            slots: Arc::clone(self),
            user,
        })
    }

    /// Each change is made as a whole, so a poisoned lock is as good as any.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken();
        taken.all = taken.all.saturating_sub(1);
        if let Some(of_one) = taken.of_one.get_mut(&self.user) {
            *of_one = of_one.saturating_sub(1);
            if *of_one == 0 {
                taken.of_one.remove(&self.user);
            }
        }
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OfAll(most) => write!(f, "not sent, as {most} requests to it are in flight"),
            Self::OfOne(most) => write!(
                f,
                "not sent, as {most} requests of this caller to it are in flight"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use toolgate_limit::Identity;

    use super::*;

    fn user(name: &str, issuer: &str) -> User {
        let identity = Identity::new(name).unwrap().of_issuer(issuer).unwrap();
        (&identity).into()
    }

    #[test]
    fn one_user_leaves_slots_to_others_and_all_together_have_no_more_than_there_are() {
        let slots = Slots::new(4, 2);
        let take = |name, issuer| slots.take(user(name, issuer));
        let mut alice = vec![take("alice", "a").unwrap(), take("alice", "a").unwrap()];
        assert_eq!(take("alice", "a").unwrap_err(), Full::OfOne(2));
        let others = [take("alice", "b").unwrap(), take("bob", "a").unwrap()];
        assert_eq!(take("carol", "a").unwrap_err(), Full::OfAll(4));

        // A slot is free at once when its request has ended.
        alice.pop();
        let carol = take("carol", "a").unwrap();
        assert_eq!(take("alice", "a").unwrap_err(), Full::OfAll(4));
        drop((alice, others, carol));
        assert!(slots.taken().of_one.is_empty());
        assert_eq!(slots.taken().all, 0);
    }
}
