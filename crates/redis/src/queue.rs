//! Where concurrent checks become batches, by themselves.
//!
//! One task sends batches, one at a time. Checks that come while a batch is on its way wait in a
//! channel; when the batch is back, those that wait become the next one. Under low load a check
//! travels alone and waits for nothing; under high load batches grow. There is no timer.
//!
//! When more checks come than Redis decides, a check that has waited half its time is refused
//! rather than sent: it would be paid, and answered when nobody listens any more. A batch has what
//! its oldest check has left. So every check has its answer within the deadline, without a timer
//! of its own.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};
use toolgate_limit::{Answer, Plan, StoreError};

use crate::{batch::Batch, denials::Denials, error::unavailable, link::Link, script::CheckScript};

/// The most checks that wait for a batch. More are refused at once.
const MAX_WAITING: usize = 16_384;

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
    async fn run(self, mut waiting: mpsc::Receiver<Job>) {
        let mut first = waiting.recv().await;
        // What those hear who have waited too long.
        let mut reason = StoreError::Overloaded;
        while let Some(job) = first {
            let gathered = gather(job, &mut waiting, self.deadline / 2, &reason);
            if let Some(oldest) = gathered.callers.iter().map(|caller| caller.since).min() {
                let until = oldest + self.deadline;
                let outcome = self.decide(gathered.batch, gathered.callers, until).await;
                reason = outcome.err().unwrap_or(StoreError::Overloaded);
            }
            first = match gathered.left_over {
                Some(job) => Some(job),
                None => waiting.recv().await,
            };
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

/// A batch, who waits for it, and the check that goes into the next one.
struct Gathered {
    batch: Batch,
    callers: Vec<Caller>,
    left_over: Option<Job>,
}

/// All checks that wait, as far as they go into one batch. Those that have waited longer than
/// `patience` are refused, for `reason`.
fn gather(
    first: Job,
    waiting: &mut mpsc::Receiver<Job>,
    patience: Duration,
    reason: &StoreError,
) -> Gathered {
    let now = Instant::now();
    let mut batch = Batch::default();
    let mut callers = Vec::new();
    let mut next = Some(first);
    while let Some(Job { plan, caller }) = next {
        if now.saturating_duration_since(caller.since) > patience {
            let _ = caller.answer.send(Err(reason.clone()));
        } else if !caller.answer.is_closed() {
            if let Err(plan) = batch.add(plan) {
                let left_over = Some(Job { plan, caller });
                return Gathered {
                    batch,
                    callers,
                    left_over,
                };
            }
            callers.push(caller);
        }
        next = waiting.try_recv().ok();
    }
    Gathered {
        batch,
        callers,
        left_over: None,
    }
}
