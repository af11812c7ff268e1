//! Where concurrent checks become batches, by themselves.
//!
//! One task sends batches. Calls that come while a batch is on its way wait; when the batch is
//! back, those that wait become the next one. A second batch follows at once when enough wait to
//! fill it, so that Redis need not wait for us. Under low load a check travels alone and waits for
//! nothing; under high load batches grow. The checks of one call stay together.
//!
//! Nobody waits long behind a batch that is slow, as on a busy machine some are: after a
//! [`SLOW`]th of the deadline the next one follows it.
//!
//! When more checks come than Redis decides, so that a batch is full before it can go, a call that has
//! waited half its time is refused rather than sent: it would be paid, and answered when nobody
//! listens any more. A batch has what its oldest call has left, and a [`SLOW`]th of the deadline at
//! least: only a process that did not run has calls that are older. So every call has its answers
//! within the deadline of the time that it was looked at, without a timer of its own.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures::{
    FutureExt as _,
    stream::{FuturesUnordered, StreamExt as _},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinHandle, coop::unconstrained},
    time::{Instant, sleep_until},
};
use toolgate_limit::{Answer, Plan, StoreError};
use toolgate_tasks::Tasks;

use crate::{
    batch::{Batch, MAX_CHECKS},
    denials::Denials,
    error::{corrupt, unavailable},
    instruments::Instruments,
    route::Route,
    script::CheckScript,
    span::{Operation, Spans},
};

/// The most calls that wait to be looked at. More are refused at once.
const MAX_WAITING: usize = 16_384;

/// The most full batches on their way. Redis decides one at a time; a second lies ready there.
const MAX_FULL: usize = 2;

/// A batch that has been on its way for so small a part of the deadline is slow.
const SLOW: u32 = 4;

/// The most batches on their way, each of which has followed a slow one.
const MAX_SLOW: usize = SLOW as usize;

/// The answers to the checks of one call, in their order; an error is that of all.
type Answers = Result<Vec<Result<Answer, StoreError>>, StoreError>;

/// Answers that are on their way.
pub(crate) type Pending = oneshot::Receiver<Answers>;

/// The checks of one call, and who waits for their answers.
struct Job {
    plans: Vec<Plan>,
    caller: Caller,
}

/// Who waits, and since when.
#[derive(Debug)]
struct Caller {
    answers: oneshot::Sender<Answers>,
    since: Instant,
}

/// A caller in a batch, and how many of its checks are theirs.
type Share = (Caller, usize);

/// Takes checks, hands out answers.
#[derive(Debug)]
pub(crate) struct Queue {
    jobs: mpsc::Sender<Job>,
    sender: JoinHandle<()>,
}

impl Queue {
    /// Begins to send batches, in a task on the current runtime.
    pub(crate) fn open(sender: Sender, tasks: &Tasks) -> Self {
        let (jobs, waiting) = mpsc::channel(MAX_WAITING);
        let state = (sender, waiting);
        let sender = tasks.spawn("redis_queue", state, |(sender, waiting)| {
            sender.run(waiting).boxed()
        });
        Self { jobs, sender }
    }

    /// Puts the checks of `plans`, which have come at `since`, into the next batch: of one snapshot,
    /// and [`MAX_CHECKS`] at most. If the answers are dropped before the checks were sent, they
    /// never are.
    pub(crate) fn submit(&self, plans: Vec<Plan>, since: Instant) -> Result<Pending, StoreError> {
        let (answers, pending) = oneshot::channel();
        let caller = Caller { answers, since };
        match self.jobs.try_send(Job { plans, caller }) {
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

/// Sends batches on `route`, each check within `deadline`.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) route: Route,
    pub(crate) script: Arc<CheckScript>,
    pub(crate) denials: Arc<Denials>,
    pub(crate) instruments: Option<Instruments>,
    pub(crate) spans: Arc<Spans>,
    pub(crate) deadline: Duration,
}

impl Sender {
    async fn run(&self, jobs: &mut mpsc::Receiver<Job>) {
        let mut waiting = Waiting::default();
        let mut arrived = Vec::new();
        let mut on_their_way = FuturesUnordered::new();
        let mut is_slow_at = Instant::now();
        // What those hear who have waited too long.
        let mut reason = StoreError::Overloaded;
        loop {
            let room = MAX_CHECKS.saturating_sub(waiting.checks);
            let may_follow = waiting.checks > 0 && room > 0 && on_their_way.len() < MAX_SLOW;
            tokio::select! {
                Some(outcome) = on_their_way.next() => {
                    reason = Result::err(outcome).unwrap_or(StoreError::Overloaded);
                }
                count = jobs.recv_many(&mut arrived, room), if room > 0 => {
                    if count == 0 {
                        return; // the store is gone, and whoever asked it
                    }
                    arrived.drain(..).for_each(|job| waiting.push(job));
                }
                () = sleep_until(is_slow_at), if may_follow && self.route.is_up() => {}
            }
            while waiting.checks > 0 {
                let is_full = waiting.checks >= MAX_CHECKS;
                // While a connection is being made, the one that was begun first must go first.
                let is_next = match on_their_way.len() {
                    0 => true,
                    count if is_full => count < MAX_FULL && self.route.is_up(),
                    count => {
                        let is_slow = Instant::now() >= is_slow_at;
                        count < MAX_SLOW && is_slow && self.route.is_up()
                    }
                };
                if !is_next {
                    break;
                }
                let (batch, shares) = waiting.gather(self.deadline / 2, &reason);
                #[cfg(test)]
                tests::strike(&batch);
                if let Some(oldest) = shares.iter().map(|(caller, _)| caller.since).min() {
                    is_slow_at = Instant::now() + self.deadline / SLOW;
                    let until = is_slow_at.max(oldest + self.deadline);
                    // Sent when it is looked at for the first time, so in order; a runtime that
                    // put it off for fairness would let the next one go first.
                    let decided = self.decide(batch, shares, until);
                    on_their_way.push(unconstrained(decided));
                }
            }
        }
    }

    /// An error is that of the batch as a whole.
    async fn decide(
        &self,
        batch: Batch,
        shares: Vec<Share>,
        until: Instant,
    ) -> Result<(), StoreError> {
        let (script, deadline) = (&self.script, self.deadline);
        let calls = self.spans.begin(Operation::Decide, batch.plans());
        let sent = Instant::now();
        let answers = self.route.decide(script, &batch, until, deadline).await;
        if let Some(instruments) = &self.instruments {
            instruments.sent(&batch, sent.elapsed());
            let timed_out = StoreError::Timeout { after: deadline };
            if (answers.as_ref()).is_err_and(|error| error.kind() == timed_out.kind()) {
                instruments.late();
            }
        }
        calls.end(|place| match &answers {
            Ok(answers) => answers.get(place)?.as_ref().err(),
            Err(error) => Some(error),
        });
        // A caller that cannot be told has gone, by a deadline of its own.
        match answers {
            Ok(answers) => {
                let answered = Instant::now();
                let mut decided = batch.plans().zip(answers);
                for (caller, count) in shares {
                    let own = decided.by_ref().take(count).map(|(plan, answer)| {
                        if let Ok(answer) = &answer {
                            let times = (caller.since, answered);
                            self.denials.remember(plan, answer, times);
                        }
                        answer
                    });
                    let own = own.collect();
                    let _ = caller.answers.send(Ok(own));
                }
                Ok(())
            }
            Err(error) => {
                for (caller, _) in shares {
                    let _ = caller.answers.send(Err(error.clone()));
                }
                Err(error)
            }
        }
    }
}

/// Calls that wait for a batch.
#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// Checks in all of them.
    checks: usize,
}

impl Waiting {
    fn push(&mut self, job: Job) {
        self.checks += job.plans.len();
        self.jobs.push_back(job);
    }

    fn pop(&mut self) -> Option<Job> {
        let job = self.jobs.pop_front()?;
        self.checks -= job.plans.len();
        Some(job)
    }

    /// The first, as far as they go into one batch. Where a batch is full, those that have waited
    /// longer than `patience` are refused, for `reason`.
    fn gather(&mut self, patience: Duration, reason: &StoreError) -> (Batch, Vec<Share>) {
        let now = Instant::now();
        let is_full = self.checks >= MAX_CHECKS;
        let mut batch = Batch::default();
        let mut shares = Vec::new();
        while let Some(Job { plans, caller }) = self.pop() {
            let count = plans.len();
            if is_full && now.saturating_duration_since(caller.since) > patience {
                let _ = caller.answers.send(Err(reason.clone()));
            } else if !caller.answers.is_closed() {
                match batch.add(plans) {
                    Ok(()) => shares.push((caller, count)),
                    Err(_) if batch.is_empty() => {
                        let error = corrupt("the checks of one call are not of one snapshot");
                        let _ = caller.answers.send(Err(error));
                    }
                    Err(plans) => {
                        self.checks += count;
                        self.jobs.push_front(Job { plans, caller });
                        break;
                    }
                }
            }
        }
        (batch, shares)
    }
}

#[cfg(test)]
mod tests;
