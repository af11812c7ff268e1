//! Any bytes as what Redis, a sentinel or a node of a cluster says, through the connection that the
//! store uses: nothing panics, every answer is within the bounds of its limits, and every error has a
//! class and a short text in one line.
//!
//! The first byte of an input says what was asked, and the others are the reply.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    runtime::Runtime,
};
use toolgate_limit::{
    Answer, Check, Decision, Identity, Mode, Operation, OperationKind, Plan, Policy, Quota, Quotas,
    ServerId, StoreError,
};
use toolgate_redis::served::{self, NoReply};

/// Whether the reply was one to what was asked.
pub(crate) fn accepts(input: &[u8]) -> bool {
    thread_local! {
        static STAGE: Stage = Stage::new();
    }
    let Some((asked, reply)) = input.split_first() else {
        return false;
    };
    STAGE.with(|stage| stage.hear(*asked, reply))
}

struct Stage {
    runtime: Runtime,
    plans: Vec<Plan>,
    servers: Vec<ServerId>,
}

impl Stage {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let server = |number| ServerId::new("test", &format!("server-{number}"));
        let servers = (0..50).map(|number| server(number).expect("a server"));
        Self {
            runtime: runtime.expect("a runtime"),
            plans: plans(),
            servers: servers.collect(),
        }
    }

    fn hear(&self, asked: u8, reply: &[u8]) -> bool {
        let stream = Said::new(reply);
        let heard = match asked % 5 {
            0 => {
                let decided = served::decide(stream, self.plans.clone());
                let decided = self.runtime.block_on(decided);
                decided.map(|answers| self.judge_answers(&answers))
            }
            1 => {
                let plan = &self.plans[0];
                let seen = self.runtime.block_on(served::look(stream, plan));
                seen.map(|answer| judge_answer(plan, &answer))
            }
            2 => {
                let map = self.runtime.block_on(served::slots(stream, &self.servers));
                map.map(|(ports, nodes, probed)| {
                    assert!(probed <= nodes);
                    assert!(nodes > 0 || ports.iter().all(Option::is_none));
                })
            }
            3 => self.runtime.block_on(served::master(stream)).map(drop),
            _ => self.runtime.block_on(served::role(stream)).map(drop),
        };
        match heard {
            Ok(()) => true,
            Err(NoReply { error, .. }) => {
                judge_error(&error);
                false
            }
        }
    }

    fn judge_answers(&self, answers: &[Result<Answer, StoreError>]) {
        assert_eq!(answers.len(), self.plans.len());
        for (plan, answer) in self.plans.iter().zip(answers) {
            match answer {
                Ok(answer) => judge_answer(plan, answer),
                Err(error) => judge_error(error),
            }
        }
    }
}

/// Two users and two kinds of limits, so that a batch has three hashes of one field or two.
fn plans() -> Vec<Plan> {
    let quota = |capacity, period| Quota::new(capacity, Duration::from_secs(period)).ok();
    let search = Operation::new(OperationKind::Tool, "search").expect("a name");
    let server: ServerId = "test/server".parse().expect("a server");
    let own = Quotas {
        global: quota(1_000, 60),
        per_user: quota(10, 60),
    };
    let of_search = Quotas {
        global: None,
        per_user: quota(3, 3_600),
    };
    let operations = [(search.clone(), of_search)];
    let policy = Policy::new(server.clone(), Mode::Enforce, own, operations).expect("a policy");
    let calls = [("alice", true, 1), ("alice", false, 1), ("bob", true, 2)];
    let plan = |(user, searches, cost): (&str, bool, u32)| {
        policy.plan(&Check {
            server: server.clone(),
            identity: Identity::new(user).expect("a subject"),
            operation: searches.then(|| search.clone()),
            cost: cost.try_into().expect("a cost"),
            trace: None,
        })
    };
    calls.into_iter().map(plan).collect()
}

fn judge_answer(plan: &Plan, answer: &Answer) {
    assert_eq!(answer.buckets.len(), plan.limits().count());
    // A bucket stands still for a period at most, and then fills.
    let longest = |quota: Quota| 2 * quota.refill_period();
    for status in &answer.buckets {
        let quota = status.limit.quota();
        assert!(status.remaining <= quota.capacity());
        assert!(status.full_after <= longest(quota), "{status:?}");
    }
    if let Decision::Denied(denial) = &answer.decision {
        let wait = denial.retry_after.expect("no cost is above a capacity");
        assert!(!wait.is_zero() && wait <= longest(denial.limit.quota()));
    }
}

fn judge_error(error: &StoreError) {
    assert!(!error.kind().is_empty());
    let text = error.to_string();
    assert!(text.len() <= 1_000, "{} bytes", text.len());
    assert!(!text.contains(char::is_control), "{text:?}");
}

/// A server that says this once it was asked, and then hangs up.
struct Said {
    reply: Vec<u8>,
    told: usize,
    was_asked: bool,
    reader: Option<Waker>,
}

impl Said {
    fn new(reply: &[u8]) -> Self {
        Self {
            reply: reply.to_vec(),
            told: 0,
            was_asked: false,
            reader: None,
        }
    }
}

impl AsyncRead for Said {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.was_asked {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let rest = &self.reply[self.told..];
        let rest = &rest[..rest.len().min(into.remaining())];
        into.put_slice(rest);
        self.told += rest.len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Said {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        question: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.was_asked = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(question.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
