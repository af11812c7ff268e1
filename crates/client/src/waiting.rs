//! Who waits for an answer of one session.
//!
//! A limiter is judged by the client's timeout, not by its callers' patience, or it would never be
//! found out by callers that all give up sooner. So when one gives up a check that has left, the
//! limiter owes an answer until the check's deadline, and any answer settles that. One debt is
//! watched at a time: however many give up, it counts at most once in a timeout.

use std::{collections::HashMap, sync::Arc};

use tokio::{sync::oneshot, time::Instant};
use toolgate_proto::pb::check_stream_response::Result as Outcome;

/// What became of a check: the message about it, or why none will come.
pub(crate) type Reply = Result<Option<Outcome>, Arc<str>>;

#[derive(Debug, Default)]
pub(crate) struct Waiting {
    next_id: u64,
    ended: bool,
    by_id: HashMap<u64, Caller>,
    owed_until: Option<Instant>,
}

#[derive(Debug)]
struct Caller {
    answered: oneshot::Sender<Reply>,
    deadline: Instant,
    /// Whether the check is on the wire.
    has_left: bool,
}

impl Waiting {
    /// One more caller, who waits until `deadline`; none after the end, or once it is closed.
    pub(crate) fn enter(&mut self, deadline: Instant) -> Option<(u64, oneshot::Receiver<Reply>)> {
        if self.ended {
            return None;
        }
        let (answered, reply) = oneshot::channel();
        let id = self.next_id;
        self.next_id += 1;
        let caller = Caller {
            answered,
            deadline,
            has_left: false,
        };
        self.by_id.insert(id, caller);
        Some((id, reply))
    }

    /// The check is about to leave; says whether anybody still waits for it.
    pub(crate) fn leave(&mut self, id: u64) -> bool {
        let caller = self.by_id.get_mut(&id);
        caller.map(|caller| caller.has_left = true).is_some()
    }

    /// The caller waits no more; says whether that makes a debt that was none before.
    pub(crate) fn give_up(&mut self, id: u64, now: Instant) -> bool {
        let caller = self.by_id.remove(&id);
        // One that has waited to the end reports that itself.
        let debt = caller.filter(|caller| caller.has_left && caller.deadline > now);
        let is_new = debt.is_some() && self.owed_until.is_none();
        if is_new {
            self.owed_until = debt.map(|caller| caller.deadline);
        }
        is_new
    }

    /// An answer has come; it is for this caller, if it still waits.
    pub(crate) fn answer(&mut self, id: u64) -> Option<oneshot::Sender<Reply>> {
        self.owed_until = None;
        self.by_id.remove(&id).map(|caller| caller.answered)
    }

    /// Until when the limiter owes an answer to a check that was given up.
    pub(crate) const fn owed_until(&self) -> Option<Instant> {
        self.owed_until
    }

    /// The debt is written off.
    pub(crate) const fn forget_debt(&mut self) {
        self.owed_until = None;
    }

    /// Nobody enters any more; those who wait are still answered.
    pub(crate) const fn close(&mut self) {
        self.ended = true;
    }

    /// Whether nobody waits, and nobody will.
    pub(crate) fn is_over(&self) -> bool {
        self.ended && self.by_id.is_empty()
    }

    /// All who wait in vain; nobody enters any more.
    pub(crate) fn end(&mut self) -> impl Iterator<Item = oneshot::Sender<Reply>> + use<> {
        self.ended = true;
        self.owed_until = None;
        let callers = std::mem::take(&mut self.by_id);
        callers.into_values().map(|caller| caller.answered)
    }

    pub(crate) fn count(&self) -> usize {
        self.by_id.len()
    }
}
