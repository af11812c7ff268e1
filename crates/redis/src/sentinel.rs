//! Sentinels, and the master that they name.
//!
//! All sentinels are asked at once, and one that is silent costs nothing while most of them answer.
//! Of different answers the one with the highest epoch is the latest, and no other counts. What they name must say of
//! itself that it is a master, on the very connection that is then used.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures::stream::{FuturesUnordered, StreamExt as _};
use redis::{FromRedisValue, Value, aio::MultiplexedConnection, cmd, pipe};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::{
    access::Access,
    connection::Connection,
    error::{ErrorClass, Fault},
    place::HostPort,
};

/// How often a sentinel is asked whether the master is still the one. A fail-over on command leaves
/// the old master up and writable for some ten seconds, and all that it then decides is forgotten.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// The sentinels of one master.
#[derive(Debug)]
pub(crate) struct Sentinels {
    pub(crate) master: String,
    pub(crate) addresses: Vec<HostPort>,
    /// How to get into a sentinel.
    pub(crate) access: Access,
    /// Whether sentinels speak TLS.
    pub(crate) is_tls: bool,
    /// Whether the servers with buckets do.
    pub(crate) servers_are_tls: bool,
    /// The latest epoch in which a master was named.
    pub(crate) latest: AtomicU64,
}

/// A master, as a sentinel names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Master {
    pub(crate) at: HostPort,
    /// Grows with each fail-over.
    pub(crate) epoch: u64,
}

impl Sentinels {
    /// A connection to the master, within `deadline`.
    pub(crate) async fn connect(
        &self,
        servers: &Access,
        deadline: Duration,
    ) -> Result<(Connection, Master), Fault> {
        let until = Instant::now() + deadline;
        let named = self.ask_all(deadline / 2).await?;
        let mut fault = self.unknown();
        for master in named {
            let left = until.saturating_duration_since(Instant::now());
            let addr = master.at.addr(self.servers_are_tls);
            match servers.connect_watched(&addr, left).await {
                Ok(mut connection) => {
                    match timeout_at(until, is_master(&mut connection.redis)).await {
                        Ok(Ok(true)) => return Ok((connection, master)),
                        Ok(Ok(false)) => fault = self.is_replica(&master),
                        Ok(Err(refused)) => fault = refused.at(&master.at),
                        Err(_) => {
                            let silent =
                                Fault::new(ErrorClass::Unreachable, "no reply to ROLE in time");
                            fault = silent.at(&master.at);
                        }
                    }
                }
                Err(unreachable) => fault = unreachable,
            }
        }
        Err(fault)
    }

    /// Returns once a sentinel names a later master than `master`.
    pub(crate) async fn deposed(&self, master: &Master, deadline: Duration) -> Fault {
        let mut kept: Option<MultiplexedConnection> = None;
        for sentinel in self.addresses.iter().cycle() {
            loop {
                sleep(WATCH_INTERVAL).await;
                let ask = async {
                    let mut connection = match kept.take() {
                        Some(connection) => connection,
                        None => self.open(sentinel, deadline).await?,
                    };
                    let named = self.ask(&mut connection).await?;
                    Ok::<_, Fault>((connection, named))
                };
                let Ok(Ok((connection, named))) = timeout(deadline, ask).await else {
                    break;
                };
                kept = Some(connection);
                if let Some(named) = named
                    && named.epoch > master.epoch
                    && named.at != master.at
                {
                    let text = format!("the master {} is now {}", self.master, named.at);
                    return Fault::new(ErrorClass::ReadOnly, text);
                }
            }
        }
        // There are no sentinels, so nobody will tell.
        std::future::pending().await
    }

    /// What the sentinels name in the latest epoch. A sentinel that is behind names a master of
    /// old, which may still take writes that are forgotten later.
    async fn ask_all(&self, deadline: Duration) -> Result<Vec<Master>, Fault> {
        let mut asked: FuturesUnordered<_> = self
            .addresses
            .iter()
            .map(async |sentinel| {
                let mut connection = self.open(sentinel, deadline).await?;
                self.ask(&mut connection)
                    .await
                    .map_err(|fault| fault.at(sentinel))
            })
            .collect();
        let most = self.addresses.len() / 2 + 1;
        let until = Instant::now() + deadline;
        let (mut named, mut answered) = (HashSet::new(), 0);
        let mut fault = self.unknown();
        while let Ok(Some(answer)) = timeout_at(until, asked.next()).await {
            match answer {
                Ok(master) => {
                    named.extend(master);
                    answered += 1;
                }
                Err(unreachable) => fault = unreachable,
            }
            if answered >= most && !named.is_empty() {
                break;
            }
        }
        let mut named: Vec<Master> = named.into_iter().collect();
        let latest = named.iter().map(|master| master.epoch).max().unwrap_or(0);
        named.retain(|master| master.epoch == latest);
        if named.is_empty() {
            return Err(fault);
        }
        // A minority that was cut off for a while may know nothing newer. Most of them may have
        // begun anew.
        if answered < most && latest < self.latest.load(Ordering::Relaxed) {
            let text = format!("too few sentinels answer, and name an old {}", self.master);
            return Err(Fault::new(ErrorClass::NoMaster, text));
        }
        self.latest.store(latest, Ordering::Relaxed);
        Ok(named)
    }

    async fn open(
        &self,
        sentinel: &HostPort,
        deadline: Duration,
    ) -> Result<MultiplexedConnection, Fault> {
        self.access
            .connect(&sentinel.addr(self.is_tls), deadline)
            .await
    }

    /// The master that the sentinel at the other end names; none if it knows none by that name.
    pub(crate) async fn ask(
        &self,
        sentinel: &mut MultiplexedConnection,
    ) -> Result<Option<Master>, Fault> {
        let mut commands = pipe();
        commands
            .cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(&self.master);
        commands.cmd("SENTINEL").arg("MASTER").arg(&self.master);
        let reply = commands
            .query_async::<(Vec<String>, Vec<String>)>(sentinel)
            .await;
        match reply {
            Ok((at, state)) => Ok(read(&at, &state)),
            Err(error) if error.to_string().contains("No such master") => Ok(None),
            Err(error) => Err(Fault::from(&error)),
        }
    }

    fn unknown(&self) -> Fault {
        let text = format!("no sentinel knows a master by the name of {}", self.master);
        Fault::new(ErrorClass::NoMaster, text)
    }

    fn is_replica(&self, named: &Master) -> Fault {
        let text = format!(
            "the sentinels name {} as {}, and it is no master",
            named.at, self.master
        );
        Fault::new(ErrorClass::NoMaster, text)
    }
}

/// A reply to `GET-MASTER-ADDR-BY-NAME` (host, port) and one to `MASTER` (names and values).
fn read(at: &[String], state: &[String]) -> Option<Master> {
    let [host, port] = at else {
        return None;
    };
    let mut pairs = state.chunks_exact(2);
    let epoch = pairs.find(|pair| pair[0] == "config-epoch");
    Some(Master {
        at: HostPort {
            host: host.clone(),
            port: port.parse().ok()?,
        },
        epoch: epoch.and_then(|pair| pair[1].parse().ok()).unwrap_or(0),
    })
}

pub(crate) async fn is_master(connection: &mut MultiplexedConnection) -> Result<bool, Fault> {
    let reply = cmd("ROLE").query_async::<Vec<Value>>(connection).await;
    let mut role = reply.map_err(|error| Fault::from(&error))?.into_iter();
    let role = role.next().map(String::from_redis_value);
    Ok(role.is_some_and(|role| role.is_ok_and(|role| role == "master")))
}
