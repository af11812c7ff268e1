//! The store.

use std::{fmt, iter, sync::Arc, time::Duration};

use async_trait::async_trait;
use redis::{
    Client, IntoConnectionInfo, Pipeline, RedisError, Value, aio::MultiplexedConnection,
    io::tcp::TcpSettings, pipe,
};
use smallvec::SmallVec;
use tokio::time::Instant;
use toolgate_limit::{Answer, Bucket, BucketStore, Plan, StoreError, peek};

use crate::{
    batch::{Batch, MAX_CHECKS, state},
    denials::Denials,
    error::corrupt,
    key::key,
    link::Link,
    queue::{Queue, Sender, closed},
    reply,
    script::CheckScript,
};

/// Where Redis is, and how long to wait for it.
#[derive(Clone)]
pub struct RedisConfig {
    /// `redis://[user:password@]host[:port][/db]`, `rediss://` for TLS, `redis+unix:///path`.
    pub url: String,
    /// The most time that one operation may take, waiting for its batch included: at least three
    /// round trips, as a check may come just after a batch has left. A check that could not be
    /// sent within half of it is refused.
    pub timeout: Duration,
    /// The most time that one attempt to connect may take.
    pub connect_timeout: Duration,
    /// How long a denial is remembered at most, so that it is not asked for again; zero for not at
    /// all. A reset through another replica is seen no later.
    pub remember_denials: Duration,
}

impl RedisConfig {
    /// Redis at `url`, with a timeout of 40 ms, so that an answer or an error is out before the 50 ms
    /// are over that gateways wait by default, and of 1 s to connect. Denials are remembered for 1 s.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            timeout: Duration::from_millis(40),
            connect_timeout: Duration::from_secs(1),
            remember_denials: Duration::from_secs(1),
        }
    }
}

/// Without the URL, which may hold a password.
impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("remember_denials", &self.remember_denials)
            .finish_non_exhaustive()
    }
}

/// A URL that leads to no Redis.
#[derive(Debug, thiserror::Error)]
#[error("the Redis URL is not valid: {reason}")]
pub struct InvalidUrl {
    /// What is wrong with it, without its secrets.
    reason: String,
}

/// A [`BucketStore`] in Redis, which all replicas that use the same Redis share.
#[derive(Debug)]
pub struct RedisStore {
    client: Client,
    connect_timeout: Duration,
    timeout: Duration,
    denials: Arc<Denials>,
    link: Arc<Link>,
    script: Arc<CheckScript>,
    queue: Queue,
}

impl RedisStore {
    /// A store that begins to connect, in tasks on the current runtime, and goes on trying as long
    /// as it lives. It is an error only if the URL is none.
    pub fn open(config: &RedisConfig) -> Result<Self, InvalidUrl> {
        let invalid = |error: RedisError| InvalidUrl {
            reason: error.to_string(),
        };
        let info = config.url.as_str().into_connection_info();
        // TLS runs on ring. Whoever has chosen before us, for this process, has chosen.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = info.map_err(invalid)?.set_tcp_settings(tcp);
        let denials = Arc::new(Denials::new(config.remember_denials));
        Ok(Self::connect(
            Client::open(info).map_err(invalid)?,
            config.connect_timeout,
            config.timeout,
            denials,
        ))
    }

    /// The same store for the current runtime: with a connection and batches of its own, so that a
    /// check need not cross from one runtime to another.
    #[must_use]
    pub fn on_this_runtime(&self) -> Self {
        Self::connect(
            self.client.clone(),
            self.connect_timeout,
            self.timeout,
            Arc::clone(&self.denials),
        )
    }

    fn connect(
        client: Client,
        connect_timeout: Duration,
        timeout: Duration,
        denials: Arc<Denials>,
    ) -> Self {
        let link = Arc::new(Link::open(client.clone(), connect_timeout));
        let script = Arc::new(CheckScript::new());
        let queue = Queue::open(Sender {
            link: Arc::clone(&link),
            script: Arc::clone(&script),
            denials: Arc::clone(&denials),
            deadline: timeout,
        });
        Self {
            client,
            connect_timeout,
            timeout,
            denials,
            link,
            script,
            queue,
        }
    }

    /// Lets Redis decide, in as few batches as it takes.
    async fn ask(&self, mut plans: Vec<Plan>, now: Instant) -> Vec<Result<Answer, StoreError>> {
        let mut pending = SmallVec::<[_; 1]>::new();
        while !plans.is_empty() {
            let rest = plans.split_off(plans.len().min(MAX_CHECKS));
            pending.push((plans.len(), self.queue.submit(plans, now)));
            plans = rest;
        }
        let mut answers = Vec::new();
        for (count, submitted) in pending {
            let decided = match submitted {
                Ok(submitted) => submitted.await.unwrap_or_else(|_| Err(closed())),
                Err(error) => Err(error),
            };
            match decided {
                Ok(decided) if answers.is_empty() => answers = decided,
                Ok(decided) => answers.extend(decided),
                Err(error) => answers.extend(iter::repeat_n(Err(error), count)),
            }
        }
        answers
    }

    async fn run(&self, commands: &Pipeline) -> Result<Vec<Value>, StoreError> {
        let call = async |connection: &mut _| commands.query_async(connection).await;
        self.link.run(self.ends(), self.timeout, call).await
    }

    fn ends(&self) -> Instant {
        Instant::now() + self.timeout
    }
}

#[async_trait]
impl BucketStore for RedisStore {
    async fn take(&self, plans: Vec<Plan>) -> Vec<Result<Answer, StoreError>> {
        let now = Instant::now();
        let known = self.denials.answers(&plans, now);
        if known.is_empty() {
            return self.ask(plans, now).await;
        }
        let unknown = plans.into_iter().zip(&known);
        let unknown = unknown.filter_map(|(plan, known)| known.is_none().then_some(plan));
        let mut asked = self.ask(unknown.collect(), now).await.into_iter();
        let answer = |known: Option<Answer>| match known {
            Some(denied) => Ok(denied),
            None => asked.next().unwrap_or_else(|| Err(closed())),
        };
        known.into_iter().map(answer).collect()
    }

    async fn peek(&self, plan: Plan) -> Result<Answer, StoreError> {
        let malformed = || corrupt("the reply to HMGET does not have its form");
        let mut commands = pipe();
        commands.atomic().cmd("TIME");
        for planned in plan.groups() {
            let fields = planned.limits.iter().map(|limit| limit.field());
            commands
                .cmd("HMGET")
                .arg(key(plan.server(), &planned.group))
                .arg(fields.collect::<Vec<_>>());
        }
        let mut replies = self.run(&commands).await?.into_iter();
        let Some(Value::Array(clock)) = replies.next() else {
            return Err(malformed());
        };
        let mut clock = clock.into_iter();
        let time = reply::time(clock.next(), clock.next()).ok_or_else(malformed)?;
        let mut values = Vec::new();
        for part in replies {
            values.extend(reply::values(part).ok_or_else(malformed)?);
        }
        let buckets = plan.limits().zip(&values).map(|(limit, value)| {
            let bucket = match value {
                None => Some(Bucket::full(limit.quota(), time)),
                Some(record) => state(record, limit.quota(), time),
            };
            bucket.ok_or_else(|| corrupt(&format!("field {}", limit.field())))
        });
        let buckets: Vec<_> = buckets.collect::<Result<_, _>>()?;
        Ok(peek(&plan, &buckets, time))
    }

    async fn reset(&self, plan: Plan) -> Result<(), StoreError> {
        let mut commands = pipe();
        commands.atomic();
        for planned in plan.groups() {
            let fields = planned.limits.iter().map(|limit| limit.field());
            commands
                .cmd("HDEL")
                .arg(key(plan.server(), &planned.group))
                .arg(fields.collect::<Vec<_>>());
        }
        self.run(&commands).await?;
        self.denials.forget();
        Ok(())
    }

    /// Runs the script and writes, as a check does: a server that only reads, or that does not let
    /// us, cannot decide.
    async fn ping(&self) -> Result<(), StoreError> {
        let mut write = pipe();
        write.cmd("SET").arg("tg:ping").arg("").arg("PX").arg(1);
        let no_checks = Batch::default();
        let call = async |connection: &mut MultiplexedConnection| {
            self.script.run(connection, &no_checks).await?;
            write.query_async::<()>(connection).await
        };
        self.link.run(self.ends(), self.timeout, call).await
    }
}
