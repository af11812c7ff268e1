//! The way to Redis: one connection, kept up by a task of its own.
//!
//! Whoever has work takes the connection that is up now, or learns at once that there is none, and
//! why. Only while the first attempt after start or after a loss is under way is there something
//! to wait for. Where the connection leads is known here alone; Sentinel and Cluster will change
//! this room and no other.

use std::{fmt, sync::Arc, time::Duration};

use redis::{AsyncConnectionConfig, Client, RedisResult, aio::MultiplexedConnection};
use tokio::{
    sync::{SetOnce, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};
use toolgate_limit::StoreError;

use crate::error::{ends_connection, to_store_error, unavailable};

/// Pauses between attempts to connect grow from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A connection that lasts so long is in order; one that is lost sooner is as good as none.
const SETTLED: Duration = Duration::from_secs(1);

/// A connection that heals by itself until it is dropped.
pub(crate) struct Link {
    state: watch::Receiver<State>,
    keeper: JoinHandle<()>,
}

#[derive(Clone)]
enum State {
    /// An attempt is under way, and nothing is known against it.
    Connecting,
    Up(Connection),
    /// The last attempt failed, for this reason; the next one follows by itself.
    Down(Arc<str>),
}

#[derive(Clone)]
struct Connection {
    redis: MultiplexedConnection,
    /// Set, with the reason, when the connection is of no more use.
    lost: Arc<SetOnce<String>>,
}

impl Link {
    /// Begins to connect, in a task on the current runtime.
    pub(crate) fn open(client: Client, connect_timeout: Duration) -> Self {
        let (publish, state) = watch::channel(State::Connecting);
        let keeper = Keeper {
            address: client.get_connection_info().addr().to_string(),
            client,
            connect_timeout,
            publish,
        };
        Self {
            state,
            keeper: tokio::spawn(keeper.run()),
        }
    }

    /// Runs `work` on the connection until `ends`; `deadline` is what there was for it in all.
    pub(crate) async fn run<T>(
        &self,
        ends: Instant,
        deadline: Duration,
        work: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, StoreError> {
        let too_late = |_| StoreError::Timeout { after: deadline };
        let mut connection = timeout_at(ends, self.connection())
            .await
            .map_err(too_late)??;
        let began = Instant::now();
        match timeout_at(ends, work(&mut connection.redis)).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => {
                if ends_connection(&error) {
                    connection.give_up(&error.to_string());
                }
                Err(to_store_error(&error))
            }
            Err(elapsed) => {
                // A reply that comes after its deadline is nobody's, and it may never come: a new
                // connection is the one way to know where we stand. Unless there was hardly time.
                if began.elapsed() >= deadline / 4 {
                    connection.give_up("no reply within the deadline");
                }
                Err(too_late(elapsed))
            }
        }
    }

    /// Whether work that is begun now is sent at once.
    pub(crate) fn is_up(&self) -> bool {
        matches!(*self.state.borrow(), State::Up(_))
    }

    /// The connection that is up, or that is just being made.
    async fn connection(&self) -> Result<Connection, StoreError> {
        let mut state = self.state.clone();
        let known = state
            .wait_for(|state| !matches!(state, State::Connecting))
            .await;
        match known.as_deref() {
            Ok(State::Up(connection)) => match connection.lost.get() {
                None => Ok(connection.clone()),
                Some(reason) => Err(unavailable(reason)),
            },
            Ok(State::Down(reason)) => Err(unavailable(reason)),
            Ok(State::Connecting) | Err(_) => Err(unavailable("the connection is closed")),
        }
    }
}

impl Connection {
    fn give_up(&self, reason: &str) {
        // Whoever gives up first says why.
        let _ = self.lost.set(reason.to_owned());
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

/// Connects, waits until the connection is lost, and connects again.
struct Keeper {
    client: Client,
    address: String,
    connect_timeout: Duration,
    publish: watch::Sender<State>,
}

impl Keeper {
    async fn run(self) {
        let address = &self.address;
        let mut pause = BACKOFF.0;
        let mut outage_was_told = false;
        loop {
            let (settled, reason) = self.live().await;
            if settled {
                tracing::warn!(address, reason, "lost the connection to Redis");
                (pause, outage_was_told) = (BACKOFF.0, false);
                self.publish.send_replace(State::Connecting);
                continue;
            }
            // Once for each outage, not for each attempt.
            if !outage_was_told {
                tracing::error!(address, reason, "Redis does not decide");
                outage_was_told = true;
            }
            self.publish.send_replace(State::Down(reason.into()));
            sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    /// One connection from beginning to end: whether it has settled, and why it ended.
    async fn live(&self) -> (bool, String) {
        let redis = match self.connect().await {
            Ok(redis) => redis,
            Err(reason) => return (false, reason),
        };
        let lost = Arc::new(SetOnce::new());
        self.publish.send_replace(State::Up(Connection {
            redis,
            lost: Arc::clone(&lost),
        }));
        if let Ok(reason) = timeout(SETTLED, lost.wait()).await {
            return (false, reason.clone());
        }
        tracing::info!(address = self.address, "connected to Redis");
        (true, lost.wait().await.clone())
    }

    async fn connect(&self) -> Result<MultiplexedConnection, String> {
        let address = &self.address;
        // The library's own time limits are off: ours span whole operations, not single commands.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let connect = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        match timeout(self.connect_timeout, connect).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(format!("Redis at {address}: {error}")),
            Err(_) => Err(format!(
                "Redis at {address} took no connection within {:?}",
                self.connect_timeout
            )),
        }
    }
}
