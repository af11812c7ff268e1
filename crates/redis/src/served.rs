//! What a server says, from the bytes of a stream up to what is made of them: the way that replies
//! take in a store, without sockets, keepers and deadlines. The repository's fuzz target of Redis's
//! replies drives it; it is no part of the API.

use std::pin::pin;

use futures::future::{Either, select};
use redis::{
    AsyncConnectionConfig, RedisConnectionInfo, RedisError, Value, aio::MultiplexedConnection,
};
use tokio::io::{AsyncRead, AsyncWrite};
use toolgate_limit::{Answer, Plan, ServerId, StoreError};

use crate::{
    access::Access,
    batch::Batch,
    call::{Asking, Call},
    cluster::{Redirect, SlotMap, slot},
    config::{Login, TlsFiles},
    error::{Failure, Fault, garbled, is_refusal},
    key::KeyPrefix,
    place::HostPort,
    script::CheckScript,
    sentinel::{Sentinels, is_master},
    store::{look_at, seen},
};

/// Why nothing was made of a reply.
#[derive(Debug)]
pub struct NoReply {
    /// What a caller of the store gets.
    pub error: StoreError,
    /// Whether a cluster's node named another one, and its port.
    pub redirected_to: Option<u16>,
}

/// The answers to `plans`, which make one batch, of the server at the end of `stream`.
pub async fn decide(
    stream: impl Stream,
    plans: Vec<Plan>,
) -> Result<Vec<Result<Answer, StoreError>>, NoReply> {
    let script = CheckScript::new(KeyPrefix::default());
    let mut batch = Batch::default();
    let added = batch.add(plans);
    assert!(added.is_ok(), "one batch, of one snapshot");
    let call = Call::Decide {
        script: &script,
        batch: &batch,
    };
    let reply = reply(stream, call).await?;
    batch.answers(reply).map_err(NoReply::from)
}

/// The answer to a look at the buckets of `plan`.
pub async fn look(stream: impl Stream, plan: &Plan) -> Result<Answer, NoReply> {
    let commands = look_at(plan, &KeyPrefix::default());
    let reply = reply(stream, Call::Transaction(&commands)).await?;
    seen(plan, reply).map_err(NoReply::from)
}

/// For each of `servers` the port of the node that serves its slot, and how many nodes there are and
/// can be probed.
pub async fn slots(
    stream: impl Stream,
    servers: &[ServerId],
) -> Result<(Vec<Option<u16>>, usize, usize), NoReply> {
    let reply = reply(stream, Call::Slots).await?;
    let Some(map) = SlotMap::read(reply, &asked()) else {
        return Err(garbled("no map of slots").into());
    };
    let port = |server| map.owner(slot(server)).map(|node| node.port);
    let ports = servers.iter().map(port).collect();
    Ok((ports, map.masters().len(), map.probes().len()))
}

/// The port and the epoch of the master that a sentinel names.
pub async fn master(stream: impl Stream) -> Result<Option<(u16, u64)>, NoReply> {
    let access = Access {
        settings: RedisConnectionInfo::default(),
        login: Login::default(),
        tls: TlsFiles::default(),
    };
    let sentinels = Sentinels {
        master: "buckets".to_owned(),
        addresses: Vec::new(),
        access,
        is_tls: false,
        servers_are_tls: false,
        latest: 0.into(),
    };
    let ask = async |mut connection: MultiplexedConnection| sentinels.ask(&mut connection).await;
    let named = connected(stream, ask).await.map_err(refusal)?;
    let named = named.map_err(StoreError::from)?;
    Ok(named.map(|named| (named.at.port, named.epoch)))
}

/// Whether a server says that it is a master.
pub async fn role(stream: impl Stream) -> Result<bool, NoReply> {
    let ask = async |mut connection: MultiplexedConnection| is_master(&mut connection).await;
    let role = connected(stream, ask).await.map_err(refusal)?;
    Ok(role.map_err(StoreError::from)?)
}

/// A connection's two directions.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// The node that is asked.
fn asked() -> HostPort {
    HostPort {
        host: "asked".to_owned(),
        port: 7,
    }
}

async fn reply(stream: impl Stream, call: Call<'_>) -> Result<Value, NoReply> {
    let ask =
        async |mut connection: MultiplexedConnection| call.send(&mut connection, Asking::No).await;
    let reply = connected(stream, ask).await.and_then(|reply| reply);
    reply.map_err(refusal)
}

fn refusal(error: RedisError) -> NoReply {
    let failure = if is_refusal(&error) {
        Failure::Refused(error)
    } else {
        Failure::NoReply(Fault::from(&error).into())
    };
    let redirected_to = match Redirect::of(&failure, &asked()) {
        Some(Redirect::Moved(to) | Redirect::Ask(to)) => Some(to.port),
        Some(Redirect::Later) | None => None,
    };
    NoReply {
        redirected_to,
        ..NoReply::from(StoreError::from(failure))
    }
}

impl From<StoreError> for NoReply {
    fn from(error: StoreError) -> Self {
        Self {
            error,
            redirected_to: None,
        }
    }
}

async fn connected<T>(
    stream: impl Stream,
    ask: impl AsyncFnOnce(MultiplexedConnection) -> T,
) -> Result<T, RedisError> {
    let settings = RedisConnectionInfo::default().set_skip_set_lib_name();
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    let (connection, driver) =
        MultiplexedConnection::new_with_config(&settings, stream, config).await?;
    let (asked, driver) = (pin!(ask(connection)), pin!(driver));
    match select(asked, driver).await {
        Either::Left((made, _driver)) => Ok(made),
        Either::Right(((), asked)) => Ok(asked.await),
    }
}
