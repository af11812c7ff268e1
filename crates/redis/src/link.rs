//! The way to Redis: one connection, kept up by a task of its own.
//!
//! Whoever has work takes the connection that is up now, or learns at once that there is none, and
//! why. Only while the first attempt after start or after a loss is under way is there something
//! to wait for.

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use futures::FutureExt as _;
use redis::{ConnectionAddr, Value};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};
use toolgate_limit::StoreError;
use toolgate_tasks::Tasks;

use crate::{
    access::Access,
    call::{Asking, Call},
    connection::{Connection, Loss},
    error::{Failure, Fault, Remedy, is_refusal, remedy, unavailable},
    outages::{Member, Outages},
    sentinel::{Master, Sentinels},
};

/// Pauses between attempts to connect grow from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A connection that lasts so long is in order; one that breaks sooner is as good as none.
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
    /// The most time that a check has for its reply.
    pub(crate) timeout: Duration,
    pub(crate) outages: Arc<Outages>,
    pub(crate) tasks: Tasks,
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

impl Link {
    /// Begins to connect, in a task on the current runtime.
    pub(crate) fn open(destination: Destination) -> Self {
        let (publish, state) = watch::channel(State::Connecting);
        let address = destination.target.to_string();
        let member = Member::new(&destination.outages, address.clone());
        let tasks = destination.tasks.clone();
        let keeper = Keeper {
            destination,
            publish,
            member,
        };
        Self {
            address,
            state,
            keeper: tasks.spawn("redis_connection", keeper, |keeper| keeper.run().boxed()),
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
        connection.note_use();
        match timeout_at(ends, call.send(&mut connection.redis, asking)).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => {
                let fault = Fault::from(&error).at(&self.address);
                if remedy(&error) == Remedy::Reconnect {
                    connection.give_up(Loss::Broken(fault.clone()));
                }
                Err(if is_refusal(&error) {
                    Failure::Refused(error)
                } else {
                    Failure::NoReply(fault.into())
                })
            }
            Err(_) => {
                // It may have fallen silent meanwhile, which is more than one late reply.
                if let Some(loss) = connection.lost.get() {
                    return Err(Failure::NoReply(loss.fault().clone().into()));
                }
                connection.note_late();
                Err(too_late())
            }
        }
    }

    /// Where it leads, for people.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Whether work that is begun now is sent at once.
    pub(crate) fn is_up(&self) -> bool {
        matches!(&*self.state.borrow(), State::Up(connection) if !connection.is_lost())
    }

    /// The connection that is up, or that is just being made. One that is known to be lost is not
    /// used: nothing was paid yet, so there is still time to make a new one.
    async fn connection(&self) -> Result<Connection, StoreError> {
        let mut state = self.state.clone();
        let is_known = |state: &State| match state {
            State::Connecting => false,
            State::Up(connection) => !connection.is_lost(),
            State::Down(_) => true,
        };
        let known = state.wait_for(is_known).await;
        match known.as_deref() {
            Ok(State::Up(connection)) => Ok(connection.clone()),
            Ok(State::Down(fault)) => Err(fault.clone().into()),
            Ok(State::Connecting) | Err(_) => Err(unavailable("the connection is closed")),
        }
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

/// How a connection has ended.
enum End {
    /// It was in order, and broke.
    Lost(Fault),
    /// It was in order, and fell silent.
    Silent(Fault),
    /// It never came to be, or broke too soon.
    Failed(Fault),
}

/// Connects, waits until the connection is lost, and connects again.
struct Keeper {
    destination: Destination,
    publish: watch::Sender<State>,
    member: Member,
}

impl Keeper {
    async fn run(&mut self) {
        let mut pause = BACKOFF.0;
        loop {
            let end = self.live().await;
            #[cfg(test)]
            tests::strike(&end);
            match end {
                End::Lost(fault) => {
                    self.tell_lost(&fault);
                    pause = BACKOFF.0;
                    self.publish.send_replace(State::Connecting);
                }
                End::Silent(fault) => {
                    self.tell_lost(&fault);
                    pause = BACKOFF.0;
                    // Its callers have waited for long enough; those that follow need not.
                    self.publish.send_replace(State::Down(fault));
                }
                End::Failed(fault) => {
                    if self.member.down() {
                        let (address, kind) = (&self.destination.target, fault.class.as_str());
                        tracing::error!(%address, kind, reason = %fault, "Redis does not decide");
                    }
                    self.publish.send_replace(State::Down(fault));
                    sleep(pause).await;
                    pause = (pause * 2).min(BACKOFF.1);
                }
            }
        }
    }

    /// One connection from beginning to end.
    async fn live(&mut self) -> End {
        let (connection, master) = match self.destination.connect().await {
            Ok(connected) => connected,
            Err(fault) => return End::Failed(fault),
        };
        self.publish.send_replace(State::Up(connection.clone()));
        let destination = &self.destination;
        let mut end = pin!(async {
            tokio::select! {
                loss = connection.lost.wait() => loss.clone(),
                silent = connection.silent(destination.timeout) => silent.at(&destination.target),
                deposed = destination.deposed(master.as_ref()) => Loss::Broken(deposed),
            }
        });
        let early = timeout(SETTLED, &mut end).await.ok();
        let is_settled = early.is_none();
        if is_settled && self.member.up() {
            tracing::info!(address = %destination.target, "connected to Redis");
        }
        let loss = match early {
            Some(loss) => loss,
            None => end.await,
        };
        connection.give_up(loss.clone());
        match loss {
            Loss::Silent(fault) | Loss::Broken(fault) if !is_settled => End::Failed(fault),
            Loss::Silent(fault) => End::Silent(fault),
            Loss::Broken(fault) => End::Lost(fault),
        }
    }

    fn tell_lost(&mut self, fault: &Fault) {
        if self.member.lost() {
            let (address, kind) = (&self.destination.target, fault.class.as_str());
            tracing::warn!(%address, kind, reason = %fault, "lost the connection to Redis");
        }
    }
}

impl Destination {
    /// A connection, and the master that it leads to, where sentinels name it.
    async fn connect(&self) -> Result<(Connection, Option<Master>), Fault> {
        let (access, deadline) = (&self.access, self.connect_timeout);
        match &self.target {
            Target::Node(addr) => Ok((access.connect_watched(addr, deadline).await?, None)),
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

#[cfg(test)]
mod tests;
