//! One connection to one server, from the time that it is up until it is lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{aio::MultiplexedConnection, cmd};
use tokio::{
    sync::SetOnce,
    time::{sleep, timeout},
};

use crate::error::{Fault, is_refusal};

/// How often the other side must show that it is there. Shorter than the time after which servers
/// and proxies close idle connections, so that they do not.
const KEEPALIVE: Duration = Duration::from_millis(500);

/// How long the other side of an idle connection has for its word. Long, as this machine may be
/// the one that is late.
const PATIENCE: Duration = Duration::from_secs(2);

/// A connection that is up until it is known to be lost. Clones are the same.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) redis: MultiplexedConnection,
    /// Set, with the reason, when the connection is of no more use.
    pub(crate) lost: Arc<SetOnce<Loss>>,
    /// Whether a call was sent since this was last looked at.
    used: Arc<AtomicBool>,
}

/// Why a connection is of no more use.
#[derive(Clone, Debug)]
pub(crate) enum Loss {
    /// A reply was late. It belongs to nobody now, and only a new connection is sure to have no
    /// others like it. The server may be well.
    Late,
    /// It is closed, or its server must not be asked any more.
    Broken(Fault),
}

impl Connection {
    pub(crate) fn new(redis: MultiplexedConnection, lost: Arc<SetOnce<Loss>>) -> Self {
        let used = Arc::default();
        Self { redis, lost, used }
    }

    /// A call is about to be sent.
    pub(crate) fn note_use(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.get().is_some()
    }

    pub(crate) fn give_up(&self, why: Loss) {
        // Whoever gives up first says why.
        let _ = self.lost.set(why);
    }

    /// Asks the other side for a word while nobody uses the connection, and returns when none comes.
    /// So one that a proxy has dropped in silence is noticed before a check needs it.
    pub(crate) async fn silent(&self) -> Loss {
        let mut redis = self.redis.clone();
        loop {
            sleep(KEEPALIVE).await;
            if self.used.swap(false, Ordering::Relaxed) {
                continue;
            }
            // Every user may say HELLO, and any answer will do.
            let hello = cmd("HELLO");
            match timeout(PATIENCE, hello.query_async::<redis::Value>(&mut redis)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) if is_refusal(&error) => {}
                Ok(Err(error)) => return Loss::Broken(Fault::from(&error)),
                Err(_) => return Loss::Late,
            }
        }
    }
}
