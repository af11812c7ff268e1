//! The way to Redis: one connection, kept up by a task of its own.
//!
//! Whoever has work takes the connection that is up now, or learns at once that there is none, and
//! why. Only while the first attempt after start or after a loss is under way is there something
//! to wait for.

use std::{fmt, sync::Arc, time::Duration};

use redis::{ConnectionAddr, Value, aio::MultiplexedConnection};
use tokio::{
    sync::{SetOnce, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};
use toolgate_limit::StoreError;

use crate::{
    access::Access,
    call::{Asking, Call},
    error::{ErrorClass, Failure, Fault, Remedy, is_refusal, remedy, unavailable},
    outages::{Member, Outages},
    sentinel::{Master, Sentinels},
};

/// Pauses between attempts to connect grow from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A connection that lasts so long is in order; one that is lost sooner is as good as none.
const SETTLED: Duration = Duration::from_secs(1);

/// A connection that heals by itself until it is dropped.
pub(crate) struct Link {
    /// Where it leads, for people.
    address: String,
    state: watch::Receiver<State>,
    keeper: JoinHandle<()>,
}

/// Where a link leads, and how it gets in.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    pub(crate) access: Access,
    pub(crate) target: Target,
    /// The most time that one attempt to connect may take.
    pub(crate) connect_timeout: Duration,
    pub(crate) outages: Arc<Outages>,
}

#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// One server.
    Node(ConnectionAddr),
    /// Whichever server is the master when the connection is made.
    Master(Arc<Sentinels>),
}

#[derive(Clone)]
enum State {
    /// An attempt is under way, and nothing is known against it.
    Connecting,
    Up(Connection),
    /// The last attempt failed, for this reason; the next one follows by itself.
    Down(Fault),
}

#[derive(Clone)]
struct Connection {
    redis: MultiplexedConnection,
    /// Set, with the reason, when the connection is of no more use.
    lost: Arc<SetOnce<Fault>>,
}

impl Link {
    /// Begins to connect, in a task on the current runtime.
    pub(crate) fn open(destination: Destination) -> Self {
        let (publish, state) = watch::channel(State::Connecting);
        let address = destination.target.to_string();
        let member = Member::new(&destination.outages, address.clone());
        let keeper = Keeper {
            destination,
            publish,
            member,
        };
        Self {
            address,
            state,
            keeper: tokio::spawn(keeper.run()),
        }
    }

    /// The reply to `call`, by `ends`; `deadline` is what there was for it in all.
    pub(crate) async fn run(
        &self,
        call: Call<'_>,
        asking: Asking,
        ends: Instant,
        deadline: Duration,
    ) -> Result<Value, Failure> {
        let too_late = || Failure::NoReply(StoreError::Timeout { after: deadline });
        let mut connection = timeout_at(ends, self.connection())
            .await
            .map_err(|_| too_late())?
            .map_err(Failure::NoReply)?;
        let began = Instant::now();
        match timeout_at(ends, call.send(&mut connection.redis, asking)).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => {
                let fault = Fault::from(&error).at(&self.address);
                if remedy(&error) == Remedy::Reconnect {
                    connection.give_up(fault.clone());
                }
                Err(if is_refusal(&error) {
                    Failure::Refused(error)
                } else {
                    Failure::NoReply(fault.into())
                })
            }
            Err(_) => {
                // A reply that comes after its deadline is nobody's, and it may never come: a new
                // connection is the one way to know where we stand. Unless there was hardly time.
                if began.elapsed() >= deadline / 4 {
                    let silent = "no reply within the deadline";
                    let silent = Fault::new(ErrorClass::ConnectionLost, silent);
                    connection.give_up(silent.at(&self.address));
                }
                Err(too_late())
            }
        }
    }

    /// Whether work that is begun now is sent at once.
    pub(crate) fn is_up(&self) -> bool {
        matches!(&*self.state.borrow(), State::Up(connection) if connection.lost.get().is_none())
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
                Some(fault) => Err(fault.clone().into()),
            },
            Ok(State::Down(fault)) => Err(fault.clone().into()),
            Ok(State::Connecting) | Err(_) => Err(unavailable("the connection is closed")),
        }
    }
}

impl Connection {
    fn give_up(&self, why: Fault) {
        // Whoever gives up first says why.
        let _ = self.lost.set(why);
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
    destination: Destination,
    publish: watch::Sender<State>,
    member: Member,
}

impl Keeper {
    async fn run(mut self) {
        let mut pause = BACKOFF.0;
        loop {
            let (settled, fault) = self.live().await;
            let (address, kind) = (&self.destination.target, fault.class.as_str());
            if settled {
                if self.member.lost() {
                    tracing::warn!(%address, kind, reason = %fault, "lost the connection to Redis");
                }
                pause = BACKOFF.0;
                self.publish.send_replace(State::Connecting);
                continue;
            }
            if self.member.down() {
                tracing::error!(%address, kind, reason = %fault, "Redis does not decide");
            }
            self.publish.send_replace(State::Down(fault));
            sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    /// One connection from beginning to end: whether it has settled, and why it ended.
    async fn live(&mut self) -> (bool, Fault) {
        let (redis, master) = match self.destination.connect().await {
            Ok(connected) => connected,
            Err(fault) => return (false, fault),
        };
        let lost = Arc::new(SetOnce::new());
        let connection = Connection {
            redis,
            lost: Arc::clone(&lost),
        };
        self.publish.send_replace(State::Up(connection.clone()));
        if let Ok(fault) = timeout(SETTLED, lost.wait()).await {
            return (false, fault.clone());
        }
        if self.member.up() {
            tracing::info!(address = %self.destination.target, "connected to Redis");
        }
        tokio::select! {
            fault = lost.wait() => (true, fault.clone()),
            deposed = self.destination.deposed(master.as_ref()) => {
                connection.give_up(deposed.clone());
                (true, deposed)
            }
        }
    }
}

impl Destination {
    /// A connection, and the master that it leads to, where sentinels name it.
    async fn connect(&self) -> Result<(MultiplexedConnection, Option<Master>), Fault> {
        let (access, deadline) = (&self.access, self.connect_timeout);
        match &self.target {
            Target::Node(addr) => Ok((access.connect(addr, deadline).await?, None)),
            Target::Master(sentinels) => {
                let (connection, master) = sentinels.connect(access, deadline).await?;
                Ok((connection, Some(master)))
            }
        }
    }

    /// Returns once the sentinels name another master; never where there are none.
    async fn deposed(&self, master: Option<&Master>) -> Fault {
        match (&self.target, master) {
            (Target::Master(sentinels), Some(master)) => {
                sentinels.deposed(master, self.connect_timeout).await
            }
            _ => std::future::pending().await,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(addr) => addr.fmt(f),
            Self::Master(sentinels) => write!(f, "master {}", sentinels.master),
        }
    }
}
