//! One stream to one replica: checks go out with an id, answers find their way back by it.
//!
//! Ids are those of one session: an answer never reaches a check of another connection. A check
//! that is no longer waited for, whether its time is up or its caller gone, takes its id with it;
//! an answer that comes later finds nobody and is dropped.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tonic::{Streaming, transport::Channel};
use toolgate_limit::{LimiterError, TraceContext};
use toolgate_proto::pb::{
    CheckRequest, CheckStreamResponse, check_stream_response::Result as Outcome,
    limiter_service_client::LimiterServiceClient,
};

use crate::{
    connection::Connection,
    outgoing::Outgoing,
    stall,
    waiting::{Reply, Waiting},
};

/// One stream, while it lasts.
pub(crate) struct Session {
    client: LimiterServiceClient<Channel>,
    requests: mpsc::Sender<Outgoing>,
    waiting: Mutex<Waiting>,
    condemned: Notify,
    /// The limiter owes an answer to a check that was given up.
    owing: Notify,
    blamed: AtomicBool,
    /// The limiter asks to go elsewhere.
    leaving: AtomicBool,
    asked_to_leave: Notify,
    /// Nobody waits any more, and nobody will.
    over: Notify,
}

/// Why a check was not sent.
#[derive(Debug)]
pub(crate) enum NotSent {
    /// The session has ended.
    Ended,
    /// The bound of checks under way is reached.
    Full,
}

/// A check that was sent.
pub(crate) struct Sent {
    session: Arc<Session>,
    id: u64,
    reply: oneshot::Receiver<Reply>,
}

impl Drop for Sent {
    fn drop(&mut self) {
        let (owes, is_over) = {
            let mut waiting = self.session.waiting();
            let owes = waiting.give_up(self.id, Instant::now());
            (owes, waiting.is_over())
        };
        if owes {
            self.session.owing.notify_one();
        }
        if is_over {
            self.session.over.notify_one();
        }
    }
}

impl Sent {
    /// The message about the check. It does not end by itself as long as the session lives.
    pub(crate) async fn reply(mut self) -> Result<Option<Outcome>, LimiterError> {
        match (&mut self.reply).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(reason)) => Err(LimiterError::ConnectionLost { reason }),
            Err(_) => Err(LimiterError::ConnectionLost {
                reason: "the client has stopped".into(),
            }),
        }
    }
}

/// How a session has ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) reason: Arc<str>,
    /// Whether it was given up from this side.
    pub(crate) condemned: bool,
    /// Whether any check was answered.
    pub(crate) answered: bool,
}

impl Session {
    pub(crate) fn new(connection: Connection) -> (Self, Streaming<CheckStreamResponse>) {
        let session = Self {
            client: connection.client,
            requests: connection.requests,
            waiting: Mutex::default(),
            condemned: Notify::new(),
            owing: Notify::new(),
            blamed: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            asked_to_leave: Notify::new(),
            over: Notify::new(),
        };
        (session, connection.answers)
    }

    /// A client on the session's connection, for single calls.
    pub(crate) fn client(&self) -> LimiterServiceClient<Channel> {
        self.client.clone()
    }

    /// Whether the connection still takes checks, as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        !self.requests.is_closed()
    }

    /// Whether any check waits for its answer.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.waiting().count() > 0
    }

    /// Whether a failure of the connection is still to be counted: it counts once, whoever notices
    /// it first, the stream or any of the calls on it.
    pub(crate) fn take_blame(&self) -> bool {
        !self.blamed.swap(true, Ordering::SeqCst)
    }

    /// A check is about to leave; says whether anybody still waits for it.
    pub(crate) fn leave(&self, id: u64) -> bool {
        self.waiting().leave(id)
    }

    /// Sends `check` with its place in a trace; its caller waits until `deadline`. Never blocks.
    pub(crate) fn send(
        self: &Arc<Self>,
        check: CheckRequest,
        trace: Option<Arc<TraceContext>>,
        deadline: Instant,
    ) -> Result<Sent, NotSent> {
        let (id, reply) = self.waiting().enter(deadline).ok_or(NotSent::Ended)?;
        let sent = Sent {
            session: Arc::clone(self),
            id,
            reply,
        };
        let outgoing = Outgoing {
            id,
            check,
            trace,
            deadline,
            session: Arc::downgrade(self),
        };
        match self.requests.try_send(outgoing) {
            Ok(()) => Ok(sent),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(NotSent::Ended),
            Err(mpsc::error::TrySendError::Full(_)) => Err(NotSent::Full),
        }
    }

    /// Gives the connection up; its task ends the session.
    pub(crate) fn condemn(&self) {
        self.condemned.notify_one();
    }

    /// Whether the limiter asks to go elsewhere. Until then it still takes checks, but for how long is
    /// up to it.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::SeqCst)
    }

    /// The limiter asks to go elsewhere.
    pub(crate) fn ask_to_leave(&self) {
        self.leaving.store(true, Ordering::SeqCst);
        self.asked_to_leave.notify_one();
    }

    /// Done when the limiter asks to go elsewhere.
    pub(crate) async fn asked_to_leave(&self) {
        self.asked_to_leave.notified().await;
    }

    /// Takes no more checks; [`Session::read`] ends when those that were taken are answered.
    pub(crate) fn finish(&self) {
        let is_over = {
            let mut waiting = self.waiting();
            waiting.close();
            waiting.is_over()
        };
        if is_over {
            self.over.notify_one();
        }
    }

    /// Hands answers to those who wait for them until the stream ends. `on_silence` is called when
    /// an answer is owed for too long ([`Waiting`]), and may give the session up by
    /// [`Session::condemn`].
    pub(crate) async fn read(
        &self,
        mut answers: Streaming<CheckStreamResponse>,
        on_silence: impl Fn(),
    ) -> End {
        let mut answered = false;
        let (reason, condemned) = loop {
            let message = tokio::select! {
                biased;
                () = self.condemned.notified() => break ("it has failed too often".into(), true),
                // Before the time is looked at: an answer that is here is not late.
                message = answers.message() => message,
                () = self.over.notified() => break ("it has asked to leave".into(), false),
                () = self.silence() => {
                    on_silence();
                    continue;
                }
            };
            match message {
                Ok(Some(notice)) if notice.leaving => self.ask_to_leave(),
                Ok(Some(answer)) => {
                    answered |= matches!(answer.result, Some(Outcome::Response(_)));
                    self.hand_over(answer);
                }
                Ok(None) => break ("the limiter has ended the stream".into(), false),
                Err(status) => {
                    let reason = format!("{:?}: {}", status.code(), status.message());
                    break (reason.into(), false);
                }
            }
        };
        End {
            reason,
            condemned,
            answered,
        }
    }

    /// Fails what is in flight; nothing more is sent.
    pub(crate) fn end(&self, reason: &Arc<str>) {
        let lost = self.waiting().end();
        for caller in lost {
            // A caller that has gone needs no reply.
            let _ = caller.send(Err(Arc::clone(reason)));
        }
    }

    fn hand_over(&self, answer: CheckStreamResponse) {
        let caller = self.waiting().answer(answer.id);
        if let Some(caller) = caller {
            let _ = caller.send(Ok(answer.result));
        } else {
            tracing::trace!(id = answer.id, "an answer came too late");
        }
    }

    /// Waits until an answer is owed for too long, and writes the debt off.
    async fn silence(&self) {
        loop {
            let owed_until = self.waiting().owed_until();
            let Some(until) = owed_until else {
                self.owing.notified().await;
                continue;
            };
            sleep_until(until).await;
            let own_stall = stall::is_own(until);
            self.waiting().forget_debt();
            if !own_stall {
                return;
            }
        }
    }

    /// Nothing is ever left half done under the lock, so a poisoned one is as good as any.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_flight = self.waiting().count();
        f.debug_struct("Session")
            .field("in_flight", &in_flight)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests;
