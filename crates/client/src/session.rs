//! One stream to one replica: checks go out with an id, answers find their way back by it.
//!
//! Ids are those of one session: an answer never reaches a check of another connection. A check
//! that is no longer waited for, whether its time is up or its caller gone, takes its id with it;
//! an answer that comes later finds nobody and is dropped.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};
use tonic::{Streaming, transport::Channel};
use toolgate_limit::LimiterError;
use toolgate_proto::pb::{
    CheckRequest, CheckStreamResponse, check_stream_response::Result as Outcome,
    limiter_service_client::LimiterServiceClient,
};

use crate::{connection::Connection, outgoing::Outgoing};

/// One stream, while it lasts.
pub(crate) struct Session {
    client: LimiterServiceClient<Channel>,
    requests: mpsc::Sender<Outgoing>,
    waiting: Mutex<Waiting>,
    condemned: Notify,
}

#[derive(Default)]
struct Waiting {
    next_id: u64,
    ended: bool,
    by_id: HashMap<u64, oneshot::Sender<Reply>>,
}

/// What became of a check: the message about it, or why none will come.
type Reply = Result<Option<Outcome>, Arc<str>>;

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
        self.session.waiting().by_id.remove(&self.id);
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
        !self.waiting().by_id.is_empty()
    }

    /// Sends `check`, whose caller waits until `deadline`. Never blocks.
    pub(crate) fn send(
        self: &Arc<Self>,
        check: CheckRequest,
        deadline: Instant,
    ) -> Result<Sent, NotSent> {
        let (answered, reply) = oneshot::channel();
        let id = {
            let mut waiting = self.waiting();
            if waiting.ended {
                return Err(NotSent::Ended);
            }
            let id = waiting.next_id;
            waiting.next_id += 1;
            waiting.by_id.insert(id, answered);
            id
        };
        let sent = Sent {
            session: Arc::clone(self),
            id,
            reply,
        };
        let outgoing = Outgoing {
            id,
            check,
            deadline,
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

    /// Hands answers to those who wait for them until the stream ends.
    pub(crate) async fn read(&self, mut answers: Streaming<CheckStreamResponse>) -> End {
        let mut answered = false;
        let (reason, condemned) = loop {
            let message = tokio::select! {
                message = answers.message() => message,
                () = self.condemned.notified() => break ("it has failed too often".into(), true),
            };
            match message {
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
        let lost = {
            let mut waiting = self.waiting();
            waiting.ended = true;
            std::mem::take(&mut waiting.by_id)
        };
        for caller in lost.into_values() {
            // A caller that has gone needs no reply.
            let _ = caller.send(Err(Arc::clone(reason)));
        }
    }

    fn hand_over(&self, answer: CheckStreamResponse) {
        let caller = self.waiting().by_id.remove(&answer.id);
        if let Some(caller) = caller {
            let _ = caller.send(Ok(answer.result));
        } else {
            tracing::trace!(id = answer.id, "an answer came too late");
        }
    }

    /// Nothing is ever left half done under the lock, so a poisoned one is as good as any.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_flight = self.waiting().by_id.len();
        f.debug_struct("Session")
            .field("in_flight", &in_flight)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
