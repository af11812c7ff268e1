//! The store.

use std::{iter, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::future::join_all;
use redis::{Cmd, Value, cmd};
use tokio::time::Instant;
use toolgate_limit::{Answer, Bucket, BucketStore, Plan, StoreError, peek};
use toolgate_tasks::Tasks;

use crate::{
    batch::state,
    call::Call,
    config::RedisConfig,
    denials::Denials,
    error::{corrupt, garbled, unavailable},
    instruments::Instruments,
    key::KeyPrefix,
    place::{InvalidUrl, Place},
    queue::closed,
    queues::{Queues, Shared},
    reply::{self, ALLOWED, Reply},
    route::Route,
    script::CheckScript,
    span::{Operation, Spans},
    ways::{Address, Aside, Ways},
};

/// A [`BucketStore`] in Redis, which all replicas that use the same Redis share.
#[derive(Debug)]
pub struct RedisStore {
    address: Address,
    denials: Arc<Denials>,
    instruments: Option<Instruments>,
    script: Arc<CheckScript>,
    spans: Arc<Spans>,
    queues: Queues,
    aside: Arc<Aside>,
}

impl RedisStore {
    /// A store that begins to connect, in tasks on the current runtime, and goes on trying as long
    /// as it lives. It is an error only if the URL is none; files are read when they are needed.
    pub fn open(config: &RedisConfig) -> Result<Self, InvalidUrl> {
        Self::open_with(config, None, Tasks::default())
    }

    /// As [`RedisStore::open`]; what it does is seen on `instruments`, if there are any, and its
    /// tasks are among `tasks`.
    pub fn open_with(
        config: &RedisConfig,
        instruments: Option<Instruments>,
        tasks: Tasks,
    ) -> Result<Self, InvalidUrl> {
        let place = Place::try_from(config.url.as_str())?;
        // TLS runs on ring. Whoever has chosen before us, for this process, has chosen.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let address = Address {
            config: Arc::new(config.clone()),
            place: Arc::new(place),
            outages: Arc::default(),
            tasks,
        };
        let aside = Arc::new(Aside::new(address.clone()));
        let denials = Arc::new(Denials::new(config.remember_denials));
        Ok(Self::connect(address, aside, denials, instruments))
    }

    /// The same store for the current runtime: with a connection and batches of its own, so that a
    /// check need not cross from one runtime to another.
    #[must_use]
    pub fn on_this_runtime(&self) -> Self {
        Self::connect(
            self.address.clone(),
            Arc::clone(&self.aside),
            Arc::clone(&self.denials),
            self.instruments.clone(),
        )
    }

    fn connect(
        address: Address,
        aside: Arc<Aside>,
        denials: Arc<Denials>,
        instruments: Option<Instruments>,
    ) -> Self {
        let script = Arc::new(CheckScript::new(address.config.key_prefix.clone()));
        let spans = Arc::new(Spans::of_process(&address.place));
        let shared = Shared {
            script: Arc::clone(&script),
            denials: Arc::clone(&denials),
            instruments: instruments.clone(),
            spans: Arc::clone(&spans),
            deadline: address.config.timeout,
            tasks: address.tasks.clone(),
        };
        Self {
            queues: Queues::new(Ways::open(&address), shared),
            address,
            denials,
            instruments,
            script,
            spans,
            aside,
        }
    }

    /// Runs `commands` on the keys of `plan` as one transaction, and returns the reply to it.
    async fn transaction(&self, plan: &Plan, commands: &[Cmd]) -> Result<Value, StoreError> {
        let route = self.aside.route(plan.server());
        let call = Call::Transaction(commands);
        let mut ends = self.ends();
        if !route.is_up() {
            // The first one opens the connection. Unlike a check it may wait for that.
            ends += self.address.config.connect_timeout;
        }
        route.run(call, ends, self.timeout()).await
    }

    async fn look(&self, plan: &Plan) -> Result<Answer, StoreError> {
        let commands = look_at(plan, self.script.keys());
        seen(plan, self.transaction(plan, &commands).await?)
    }

    /// Whether the server at the end of `route` decides; it serves the slot of `key`.
    async fn probe(&self, route: &Route, key: &str) -> Result<(), StoreError> {
        // A hash that is there already is written with fewer commands. A long name leaves no room
        // for binary arguments in what a server says that does not know the command, so that its
        // words can be read.
        let key = format!("{key}:{:0>112x}", fastrand::u128(..));
        let (script, key) = (&self.script, key.as_str());
        let call = Call::Probe { script, key };
        let reply = route.run(call, self.ends(), self.timeout()).await?;
        let reply = Reply::try_from(reply)?;
        if reply.decisions == [ALLOWED] {
            Ok(())
        } else {
            Err(garbled("a check of a bucket that nobody knows was denied"))
        }
    }

    fn ends(&self) -> Instant {
        Instant::now() + self.timeout()
    }

    fn timeout(&self) -> Duration {
        self.address.config.timeout
    }
}

#[async_trait]
impl BucketStore for RedisStore {
    async fn take(&self, plans: Vec<Plan>) -> Vec<Result<Answer, StoreError>> {
        let now = Instant::now();
        let known = self.denials.answers(&plans, now);
        if known.is_empty() {
            return self.queues.decide(plans, now).await;
        }
        if let Some(instruments) = &self.instruments {
            instruments.remembered(known.iter().flatten().count());
        }
        let unknown = plans.into_iter().zip(&known);
        let unknown = unknown.filter_map(|(plan, known)| known.is_none().then_some(plan));
        let mut asked = self.queues.decide(unknown.collect(), now).await.into_iter();
        let answer = |known: Option<Answer>| match known {
            Some(denied) => Ok(denied),
            None => asked.next().unwrap_or_else(|| Err(closed())),
        };
        known.into_iter().map(answer).collect()
    }

    async fn peek(&self, plan: Plan) -> Result<Answer, StoreError> {
        let calls = self.spans.begin(Operation::Look, iter::once(&plan));
        let answer = self.look(&plan).await;
        calls.end(|_| answer.as_ref().err());
        answer
    }

    async fn reset(&self, plan: Plan) -> Result<(), StoreError> {
        let commands: Vec<_> = on_each_hash("HDEL", &plan, self.script.keys()).collect();
        // Ends with this call, whatever comes of it.
        let resetting = self.denials.resetting();
        self.transaction(&plan, &commands).await?;
        resetting.done();
        Ok(())
    }

    /// Asks all servers to decide a check. If only some nodes of a cluster do, that is
    /// [`StoreError::Partial`].
    async fn ping(&self) -> Result<(), StoreError> {
        let probes = self.queues.probes(self.ends()).await?;
        if probes.is_empty() {
            return Err(unavailable("hardly any slot of the cluster is served"));
        }
        let pings = probes.iter().map(async |(route, key)| {
            let decided = self.probe(route, key).await;
            decided.err().map(|error| (route, error))
        });
        let failed = join_all(pings).await.into_iter().flatten();
        let failed: Vec<_> = failed.collect();
        let is_part = failed.len() < probes.len();
        match failed.into_iter().next() {
            None => Ok(()),
            Some((route, error)) if is_part && !matches!(error, StoreError::Partial { .. }) => {
                Err(StoreError::Partial {
                    part: route.part(),
                    error: Box::new(error),
                })
            }
            Some((_, error)) => Err(error),
        }
    }
}

/// What reads the buckets of `plan`, and the time.
pub(crate) fn look_at(plan: &Plan, keys: &KeyPrefix) -> Vec<Cmd> {
    let mut commands = vec![cmd("TIME")];
    commands.extend(on_each_hash("HMGET", plan, keys));
    commands
}

/// The answer in the reply to those commands.
pub(crate) fn seen(plan: &Plan, reply: Value) -> Result<Answer, StoreError> {
    let malformed = || corrupt("the reply to HMGET does not have its form");
    let Value::Array(replies) = reply else {
        return Err(malformed());
    };
    let mut replies = replies.into_iter();
    let Some(Value::Array(clock)) = replies.next() else {
        return Err(malformed());
    };
    let mut clock = clock.into_iter();
    let time = reply::time(clock.next(), clock.next()).ok_or_else(malformed)?;
    let mut values = Vec::new();
    for part in replies {
        values.extend(reply::values(part).ok_or_else(malformed)?);
    }
    if values.len() != plan.limits().count() {
        return Err(malformed());
    }
    let buckets = plan.limits().zip(&values).map(|(limit, value)| {
        let bucket = match value {
            None => Some(Bucket::full(limit.quota(), time)),
            Some(record) => state(record, limit.quota(), time),
        };
        bucket.ok_or_else(|| corrupt(&format!("field {}", limit.field())))
    });
    let buckets: Vec<_> = buckets.collect::<Result<_, _>>()?;
    Ok(peek(plan, &buckets, time))
}

/// `verb` on the buckets of `plan`, once for each hash.
fn on_each_hash<'a>(
    verb: &'a str,
    plan: &'a Plan,
    keys: &'a KeyPrefix,
) -> impl Iterator<Item = Cmd> + 'a {
    plan.groups().iter().map(move |planned| {
        let fields = planned.limits.iter().map(|limit| limit.field());
        let mut command = cmd(verb);
        command.arg(keys.hash(plan.server(), &planned.group));
        command.arg(fields.collect::<Vec<_>>());
        command
    })
}
