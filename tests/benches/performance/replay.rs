//! The limiter's script without the limiter: what its store sends to Redis is recorded once, byte
//! by byte, and then sent again by a client that does nothing else.
//!
//! So the script and its arguments are always those of this build, and what the client spends is as
//! little as can be. Replayed checks are paid anew; time is Redis's.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream as Blocking,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
};
use toolgate_limit::BucketStore as _;
use toolgate_redis::{RedisConfig, RedisStore};

use crate::{
    cpu,
    load::{BATCH, RATE, REDIS_CPU},
    policies, resp,
    stage::{Redis, Stage},
    table::Figures,
};

/// Twice what a batch holds, so that while one is on its way the next is full.
const IN_FLIGHT: usize = 128;
const CHECKS: usize = 12_800;

/// Calls of the script, and how many checks are in each on average.
#[derive(Debug)]
pub(crate) struct Recording {
    calls: Vec<Vec<u8>>,
    checks_each: f64,
}

/// Records the calls that a store makes for checks of [`policies::policy`].
pub(crate) fn record(stage: &Stage, redis: &Redis) -> Recording {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("recorded.sock");
    let sent = Arc::new(Mutex::new(Vec::new()));
    stage.runtime.block_on(async {
        let listener = UnixListener::bind(&socket).expect("a socket");
        let relay = tokio::spawn(relay(listener, socket_of(redis), Arc::clone(&sent)));
        let url = format!("redis+unix://{}", socket.display());
        let store = RedisStore::open(&RedisConfig::new(url)).expect("a URL");
        let policy = policies::policy();
        let take = async |number| {
            let plans = vec![policy.plan(&policies::check(number))];
            store.take(plans).await.remove(0)
        };
        // The first connects and loads the script.
        while take(0).await.is_err() {}
        sent.lock().expect("not poisoned").clear();
        let checks = stream::iter(0..CHECKS)
            .map(take)
            .buffer_unordered(IN_FLIGHT);
        checks
            .for_each(async |answer| drop(answer.expect("an answer")))
            .await;
        relay.abort();
    });
    let sent = sent.lock().expect("not poisoned");
    let (mut rest, mut calls) = (&sent[..], Vec::new());
    while let Some((command, after)) = resp::split(rest) {
        // Those that are not of the script only keep the connection.
        if command.windows(7).take(32).any(|name| name == b"EVALSHA") {
            calls.push(command.to_vec());
        }
        rest = after;
    }
    assert!(!calls.is_empty(), "the store calls no script");
    #[allow(clippy::cast_precision_loss, reason = "figures of a few digits")]
    let checks_each = CHECKS as f64 / calls.len() as f64;
    Recording { calls, checks_each }
}

fn socket_of(redis: &Redis) -> String {
    let url = redis.server.url();
    url.strip_prefix("redis+unix://")
        .expect("a socket")
        .to_owned()
}

async fn relay(listener: UnixListener, redis: String, sent: Arc<Mutex<Vec<u8>>>) {
    while let Ok((store, _)) = listener.accept().await {
        let redis = UnixStream::connect(&redis).await.expect("Redis listens");
        let (mut from_store, mut to_store) = store.into_split();
        let (mut from_redis, mut to_redis) = redis.into_split();
        let sent = Arc::clone(&sent);
        tokio::spawn(async move { tokio::io::copy(&mut from_redis, &mut to_store).await });
        tokio::spawn(async move {
            let mut buffer = vec![0; 256 * 1024];
            while let Ok(length @ 1..) = from_store.read(&mut buffer).await {
                sent.lock()
                    .expect("not poisoned")
                    .extend_from_slice(&buffer[..length]);
                to_redis
                    .write_all(&buffer[..length])
                    .await
                    .expect("Redis reads");
            }
        });
    }
}

/// Sends the calls again and again, the next before the answer to the last, so that Redis never
/// waits.
pub(crate) fn replay(redis: &Redis, recording: &Recording, time: Duration) -> Figures {
    let mut client = Client::connect(Path::new(&socket_of(redis)));
    let mut calls = recording.calls.iter().cycle();
    let mut next = || calls.next().expect("there are calls");
    client.send(next());
    let (began, spent, mut count) = (Instant::now(), cpu::of(redis.pid), 0_u32);
    while began.elapsed() < time {
        client.send(next());
        client.receive();
        count += 1;
    }
    let (elapsed, spent) = (began.elapsed(), cpu::of(redis.pid).saturating_sub(spent));
    client.receive();
    let checks = f64::from(count) * recording.checks_each;
    Figures::from([
        (RATE, checks / elapsed.as_secs_f64()),
        (REDIS_CPU, spent.as_secs_f64() * 1e6 / checks),
        (BATCH, recording.checks_each),
    ])
}

/// A connection to Redis that blocks.
#[derive(Debug)]
pub(crate) struct Client {
    socket: Blocking,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn of(redis: &Redis) -> Self {
        Self::connect(Path::new(&socket_of(redis)))
    }

    fn connect(path: &Path) -> Self {
        Self {
            socket: Blocking::connect(path).expect("Redis listens"),
            buffer: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, command: &[u8]) {
        self.socket.write_all(command).expect("Redis reads");
    }

    /// Waits for one reply, which is no error.
    pub(crate) fn receive(&mut self) -> Vec<u8> {
        loop {
            if let Some(length) = resp::length(&self.buffer) {
                let rest = self.buffer.split_off(length);
                let reply = std::mem::replace(&mut self.buffer, rest);
                let is_error = reply[0] == b'-';
                assert!(!is_error, "{}", String::from_utf8_lossy(&reply));
                return reply;
            }
            let mut more = [0; 16 * 1024];
            let length = self.socket.read(&mut more).expect("Redis answers");
            assert!(length > 0, "Redis has hung up");
            self.buffer.extend_from_slice(&more[..length]);
        }
    }
}
