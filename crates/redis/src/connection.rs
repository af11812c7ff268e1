//! One connection to one server, from the time that it is up until it is lost.
//!
//! A reply that is late says little: on a busy machine now and then one is, and the server is well. So
//! a late reply ends no connection. The other side is asked for a word at once, behind the late call,
//! and has [`WAITS`] more time-outs of the store for it. Replies come in order, so its word says that
//! the late ones have come too. The waits are counted one by one, so the time in which this process
//! did not run is one wait at most, and no silence of the other side.

use std::{
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{RedisResult, Value, aio::MultiplexedConnection, cmd};
use tokio::{
    select,
    sync::{Notify, SetOnce},
    time::{sleep, timeout},
};

use crate::error::{ErrorClass, Fault, is_refusal};

/// How often the other side must show that it is there. Shorter than the time after which servers
/// and proxies close idle connections, so that they do not.
const KEEPALIVE: Duration = Duration::from_millis(500);

/// How long the other side of an idle connection has for its word, at least: never less than that of
/// one with a late reply. Long, as this machine may be the one that is late.
const PATIENCE: Duration = Duration::from_secs(2);

/// So many time-outs of the store the other side has for its word after a late reply.
pub(crate) const WAITS: u32 = 4;

/// A connection that is up until it is known to be lost. Clones are the same.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) redis: MultiplexedConnection,
    /// Set, with the reason, when the connection is of no more use.
    pub(crate) lost: Arc<SetOnce<Loss>>,
    /// Whether a call was sent since this was last looked at.
    used: Arc<AtomicBool>,
    /// Told when a reply is late.
    late: Arc<Notify>,
}

/// Why a connection is of no more use.
#[derive(Clone, Debug)]
pub(crate) enum Loss {
    /// A reply was late, and nothing else has come since. The server may be well; only a new
    /// connection tells.
    Silent(Fault),
    /// It is closed, or its server must not be asked any more.
    Broken(Fault),
}

impl Loss {
    pub(crate) const fn fault(&self) -> &Fault {
        match self {
            Self::Silent(fault) | Self::Broken(fault) => fault,
        }
    }

    /// This loss, as that of `node`.
    pub(crate) fn at(self, node: impl fmt::Display) -> Self {
        match self {
            Self::Silent(fault) => Self::Silent(fault.at(node)),
            Self::Broken(fault) => Self::Broken(fault.at(node)),
        }
    }
}

impl Connection {
    pub(crate) fn new(redis: MultiplexedConnection, lost: Arc<SetOnce<Loss>>) -> Self {
        Self {
            redis,
            lost,
            used: Arc::default(),
            late: Arc::default(),
        }
    }

    /// A call is about to be sent.
    pub(crate) fn note_use(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    /// The reply to a call has not come in time.
    pub(crate) fn note_late(&self) {
        self.late.notify_one();
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.get().is_some()
    }

    pub(crate) fn give_up(&self, why: Loss) {
        // Whoever gives up first says why.
        let _ = self.lost.set(why);
    }

    /// Asks the other side for a word when a reply is late, and while nobody uses the connection. So
    /// one that a proxy has dropped in silence is noticed before a check needs it. Returns when no
    /// word comes; a check has `deadline` for its reply.
    pub(crate) async fn silent(&self, deadline: Duration) -> Loss {
        let silence = deadline.saturating_mul(1 + WAITS);
        let idle = PATIENCE.max(silence);
        loop {
            let is_late = timeout(KEEPALIVE, self.late.notified()).await.is_ok();
            if !is_late && self.used.swap(false, Ordering::Relaxed) {
                continue;
            }
            match self.word(is_late, deadline, idle).await {
                Some(Ok(_)) => {}
                Some(Err(error)) if is_refusal(&error) => {}
                Some(Err(error)) => return Loss::Broken(Fault::from(&error)),
                None => {
                    let after = if is_late { silence } else { idle };
                    let text = format!("nothing has come within {after:?}");
                    return Loss::Silent(Fault::new(ErrorClass::ConnectionLost, text));
                }
            }
        }
    }

    /// What the other side says; nothing if it takes too long, which is `idle` as long as no reply is
    /// late. Where none `is_late`, one may become so.
    async fn word(
        &self,
        is_late: bool,
        deadline: Duration,
        idle: Duration,
    ) -> Option<RedisResult<Value>> {
        let mut redis = self.redis.clone();
        // Every user may say HELLO, and any answer will do.
        let hello = cmd("HELLO");
        let mut word = pin!(hello.query_async(&mut redis));
        let (mut waits, mut waited, mut has_become_late) = (0, Duration::ZERO, false);
        loop {
            select! {
                biased;
                said = &mut word => {
                    if has_become_late {
                        // Its call was sent after this one.
                        self.note_late();
                    }
                    return Some(said);
                }
                () = self.late.notified(), if !is_late && !has_become_late => {
                    (has_become_late, waits) = (true, 0);
                }
                () = sleep(deadline) => (waits, waited) = (waits + 1, waited + deadline),
            }
            let has_waited = if is_late || has_become_late {
                waits >= WAITS
            } else {
                waited >= idle
            };
            if has_waited {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests;
