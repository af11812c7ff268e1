//! Where concurrent checks become batches, by themselves.
//!
//! One task sends batches, one at a time. Checks that come while a batch is on its way wait in a
//! channel; when the batch is back, those that wait become the next one. Under low load a check
//! travels alone and waits for nothing; under high load batches grow. There is no timer.
//!
//! When more checks come than Redis decides, a check that has waited half its time is refused
//! rather than sent: it would be paid, and answered when nobody listens any more.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};
use toolgate_limit::{Answer, Plan, StoreError};

use crate::{batch::Batch, error::unavailable, link::Link, script::CheckScript};

/// The most checks that wait for a batch. More are refused at once.
const MAX_WAITING: usize = 16_384;

/// An answer that is on its way.
pub(crate) type Pending = oneshot::Receiver<Result<Answer, StoreError>>;

type Caller = oneshot::Sender<Result<Answer, StoreError>>;

/// A check, and who waits for its answer.
struct Job {
    plan: Plan,
    caller: Caller,
    since: Instant,
}

/// Takes checks, hands out answers.
#[derive(Debug)]
pub(crate) struct Queue {
    jobs: mpsc::Sender<Job>,
    sender: JoinHandle<()>,
}

impl Queue {
    /// Begins to send batches over `link`, each within `deadline`, in a task on the current
    /// runtime.
    pub(crate) fn open(link: Arc<Link>, script: Arc<CheckScript>, deadline: Duration) -> Self {
        let (jobs, waiting) = mpsc::channel(MAX_WAITING);
        let sender = Sender {
            link,
            script,
            deadline,
        };
        Self {
            jobs,
            sender: tokio::spawn(sender.run(waiting)),
        }
    }

    /// Puts the check of `plan` into the next batch. If the answer is dropped before the check was
    /// sent, it never is.
    pub(crate) fn submit(&self, plan: Plan) -> Result<Pending, StoreError> {
        let (caller, answer) = oneshot::channel();
        let since = Instant::now();
        match self.jobs.try_send(Job {
            plan,
            caller,
            since,
        }) {
            Ok(()) => Ok(answer),
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

struct Sender {
    link: Arc<Link>,
    script: Arc<CheckScript>,
    deadline: Duration,
}

impl Sender {
    async fn run(self, mut waiting: mpsc::Receiver<Job>) {
        let mut first = waiting.recv().await;
        while let Some(job) = first {
            let (batch, callers, left_over) = gather(job, &mut waiting, self.deadline / 2);
            if !callers.is_empty() {
                self.decide(&batch, callers).await;
            }
            first = match left_over {
                Some(job) => Some(job),
                None => waiting.recv().await,
            };
        }
    }

    async fn decide(&self, batch: &Batch, callers: Vec<Caller>) {
        let call = async |connection: &mut _| self.script.run(connection, batch).await;
        let answers = match self.link.run(self.deadline, call).await {
            Ok(reply) => batch.answers(reply),
            Err(error) => Err(error),
        };
        // A caller that cannot be told has gone, by a deadline of its own.
        match answers {
            Ok(answers) => {
                for (caller, answer) in callers.into_iter().zip(answers) {
                    let _ = caller.send(answer);
                }
            }
            Err(error) => {
                for caller in callers {
                    let _ = caller.send(Err(error.clone()));
                }
            }
        }
    }
}

/// All checks that wait, as far as they go into one batch, and the one that goes into the next.
/// Those that have waited longer than `patience` are refused.
fn gather(
    first: Job,
    waiting: &mut mpsc::Receiver<Job>,
    patience: Duration,
) -> (Batch, Vec<Caller>, Option<Job>) {
    let mut batch = Batch::default();
    let mut callers = Vec::new();
    let mut next = Some(first);
    while let Some(job) = next {
        if job.since.elapsed() > patience {
            let _ = job.caller.send(Err(StoreError::Overloaded));
        } else if !job.caller.is_closed() {
            if let Err(plan) = batch.add(job.plan) {
                return (batch, callers, Some(Job { plan, ..job }));
            }
            callers.push(job.caller);
        }
        next = waiting.try_recv().ok();
    }
    (batch, callers, None)
}
