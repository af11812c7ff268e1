//! Where concurrent checks become batches, by themselves.
//!
//! One task sends batches. Checks that come while a batch is on its way wait; when the batch is
//! back, those that wait become the next one. A second batch follows at once when enough wait to
//! fill it, so that Redis need not wait for us. Under low load a check travels alone and waits for
//! nothing; under high load batches grow. There is no timer.
//!
//! When more checks come than Redis decides, a check that has waited half its time is refused
//! rather than sent: it would be paid, and answered when nobody listens any more. A batch has what
//! its oldest check has left. So every check has its answer within the deadline, without a timer
//! of its own.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinHandle, coop::unconstrained},
    time::Instant,
};
use toolgate_limit::{Answer, Plan, StoreError};

use crate::{
    batch::{Batch, MAX_CHECKS},
    denials::Denials,
    error::unavailable,
    link::Link,
    script::CheckScript,
};

/// The most checks that wait for a batch. More are refused at once.
const MAX_WAITING: usize = 16_384;

/// The most batches on their way. Redis decides one at a time; a second lies ready there.
const MAX_ON_THEIR_WAY: usize = 2;

/// An answer that is on its way.
pub(crate) type Pending = oneshot::Receiver<Result<Answer, StoreError>>;

/// A check, and who waits for its answer.
struct Job {
    plan: Plan,
    caller: Caller,
}

/// Who waits, and since when.
#[derive(Debug)]
struct Caller {
    answer: oneshot::Sender<Result<Answer, StoreError>>,
    since: Instant,
}

/// Takes checks, hands out answers.
#[derive(Debug)]
pub(crate) struct Queue {
    jobs: mpsc::Sender<Job>,
    sender: JoinHandle<()>,
}

impl Queue {
    /// Begins to send batches, in a task on the current runtime.
    pub(crate) fn open(sender: Sender) -> Self {
        let (jobs, waiting) = mpsc::channel(MAX_WAITING);
        Self {
            jobs,
            sender: tokio::spawn(sender.run(waiting)),
        }
    }

    /// Puts the check of `plan`, which has come at `since`, into the next batch. If the answer is
    /// dropped before the check was sent, it never is.
    pub(crate) fn submit(&self, plan: Plan, since: Instant) -> Result<Pending, StoreError> {
        let (answer, pending) = oneshot::channel();
        let caller = Caller { answer, since };
        match self.jobs.try_send(Job { plan, caller }) {
            Ok(()) => Ok(pending),
            Err(mpsc::error::TrySendError::Full(_)) => Err(StoreError::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(closed()),
        }
    }
}

/// What callers hear whose checks the store has dropped on its way out.
pub(crate) fn closed() -> StoreError {
    unavailable("the store is closed")
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.sender.abort();
    }
}

/// Sends batches over `link`, each check within `deadline`.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) link: Arc<Link>,
    pub(crate) script: Arc<CheckScript>,
    pub(crate) denials: Arc<Denials>,
    pub(crate) deadline: Duration,
}

impl Sender {
    async fn run(self, mut jobs: mpsc::Receiver<Job>) {
        let mut waiting = VecDeque::with_capacity(MAX_CHECKS);
        let mut arrived = Vec::with_capacity(MAX_CHECKS);
        let mut on_their_way = FuturesUnordered::new();
        // What those hear who have waited too long.
        let mut reason = StoreError::Overloaded;
        loop {
            let room = MAX_CHECKS - waiting.len();
            tokio::select! {
                Some(outcome) = on_their_way.next() => {
                    reason = Result::err(outcome).unwrap_or(StoreError::Overloaded);
                }
                count = jobs.recv_many(&mut arrived, room), if room > 0 => {
                    if count == 0 {
                        return; // the store is gone, and whoever asked it
                    }
                    waiting.extend(arrived.drain(..));
                }
            }
            loop {
                let next = match on_their_way.len() {
                    0 => !waiting.is_empty(),
                    // While a connection is being made, the one that was begun first must go first.
                    count => {
                        let is_full = waiting.len() >= MAX_CHECKS;
                        is_full && count < MAX_ON_THEIR_WAY && self.link.is_up()
                    }
                };
                if !next {
                    break;
                }
                let (batch, callers) = gather(&mut waiting, self.deadline / 2, &reason);
                if let Some(oldest) = callers.iter().map(|caller| caller.since).min() {
                    // Sent when it is looked at for the first time, so in order; a runtime that
                    // put it off for fairness would let the next one go first.
                    let decided = self.decide(batch, callers, oldest + self.deadline);
                    on_their_way.push(unconstrained(decided));
                }
            }
        }
    }

    /// An error is that of the batch as a whole.
    async fn decide(
        &self,
        batch: Batch,
        callers: Vec<Caller>,
        until: Instant,
    ) -> Result<(), StoreError> {
        let call = async |connection: &mut _| self.script.run(connection, &batch).await;
        let reply = self.link.run(until, self.deadline, call).await;
        // A caller that cannot be told has gone, by a deadline of its own.
        match reply.and_then(|reply| batch.answers(reply)) {
            Ok(answers) => {
                for ((caller, answer), plan) in callers.into_iter().zip(answers).zip(batch.plans())
                {
                    if let Ok(answer) = &answer {
                        self.denials.remember(plan, answer, caller.since);
                    }
                    let _ = caller.answer.send(answer);
                }
                Ok(())
            }
            Err(error) => {
                for caller in callers {
                    let _ = caller.answer.send(Err(error.clone()));
                }
                Err(error)
            }
        }
    }
}

/// The first of those that wait, as far as they go into one batch. Those that have waited longer
/// than `patience` are refused, for `reason`.
fn gather(
    waiting: &mut VecDeque<Job>,
    patience: Duration,
    reason: &StoreError,
) -> (Batch, Vec<Caller>) {
    let now = Instant::now();
    let mut batch = Batch::default();
    let mut callers = Vec::with_capacity(waiting.len());
    while let Some(Job { plan, caller }) = waiting.pop_front() {
        if now.saturating_duration_since(caller.since) > patience {
            let _ = caller.answer.send(Err(reason.clone()));
        } else if !caller.answer.is_closed() {
            match batch.add(plan) {
                Ok(()) => callers.push(caller),
                Err(plan) => {
                    waiting.push_front(Job { plan, caller });
                    break;
                }
            }
        }
    }
    (batch, callers)
}
