//! Asks the replicas, each for itself, so that one that hangs holds up nothing.

use std::{any::Any, collections::HashMap, future::pending, panic::resume_unwind};

use futures::future::join_all;
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinError, JoinSet},
    time::{Duration, MissedTickBehavior, interval, sleep},
};
use toolgate_limit::GoDuration;
use toolgate_proto::pb;

use crate::client::{CallError, Client, Endpoint, TlsArgs};

/// How often names are looked up anew: replicas come and go.
const LOOK_UP: Duration = Duration::from_secs(5);

/// Answers that wait to be seen. Tasks wait for room.
const WAITING: usize = 256;

/// The replicas to watch.
#[derive(Debug)]
pub(crate) struct Targets {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) tls: TlsArgs,
    /// For each answer.
    pub(crate) timeout: GoDuration,
    /// From one reading to the next.
    pub(crate) interval: Duration,
}

/// News of one replica, which is known by its endpoint.
#[derive(Debug)]
pub(super) enum Event {
    /// It is to be watched.
    Joined(String),
    /// It has answered.
    Answered(String, Box<pb::GetActivityResponse>),
    /// It has not.
    Failed(String, CallError),
    /// Its name no longer leads to it.
    Left(String),
}

impl Targets {
    /// Each of them, looked up once.
    pub(super) async fn clients(&self) -> anyhow::Result<Vec<(String, Client)>> {
        let replicas = async |name: &Endpoint| {
            let found = name.replicas(self.timeout).await;
            // The call that fails says why.
            found.unwrap_or_else(|| vec![name.clone()])
        };
        let found = self.endpoints.iter().map(replicas);
        let found = join_all(found).await.into_iter().flatten();
        let client = |endpoint: Endpoint| {
            let client = Client::new(&self.tls.of(&endpoint)?, self.timeout);
            Ok((endpoint.to_string(), client))
        };
        found.map(client).collect()
    }

    /// Watches them, in tasks that end with the receiver and the set.
    pub(super) fn watch(self) -> anyhow::Result<(mpsc::Receiver<Event>, JoinSet<()>)> {
        // What is wrong with the flags is wrong from the start.
        for endpoint in &self.endpoints {
            self.tls.of(endpoint)?;
        }
        let (tell, news) = mpsc::channel(WAITING);
        let mut tasks = JoinSet::new();
        for endpoint in self.endpoints {
            tasks.spawn(watch_name(Name {
                endpoint,
                tls: self.tls.clone(),
                timeout: self.timeout,
                interval: self.interval,
                tell: tell.clone(),
            }));
        }
        Ok((news, tasks))
    }
}

/// An endpoint, and how to watch what it leads to.
struct Name {
    endpoint: Endpoint,
    tls: TlsArgs,
    timeout: GoDuration,
    interval: Duration,
    tell: mpsc::Sender<Event>,
}

/// Watches all replicas behind one name, as they come and go.
async fn watch_name(name: Name) {
    let mut tasks = JoinSet::new();
    let mut watched: HashMap<String, AbortHandle> = HashMap::new();
    loop {
        let found = match name.endpoint.replicas(name.timeout).await {
            Some(found) => found,
            // The call that fails says why.
            None if watched.is_empty() => vec![name.endpoint.clone()],
            // Replicas may answer while names do not.
            None => {
                sleep(LOOK_UP).await;
                continue;
            }
        };
        let found: HashMap<_, _> = found.into_iter().map(|it| (it.to_string(), it)).collect();
        let gone: Vec<_> = watched
            .extract_if(|endpoint, _| !found.contains_key(endpoint))
            .collect();
        for (endpoint, task) in gone {
            task.abort();
            if name.tell.send(Event::Left(endpoint)).await.is_err() {
                return;
            }
        }
        for (text, endpoint) in found {
            if watched.contains_key(&text) {
                continue;
            }
            // The same files as at the start; if they are gone by now, the next look-up tries again.
            let Ok(endpoint) = name.tls.of(&endpoint) else {
                continue;
            };
            if name.tell.send(Event::Joined(text.clone())).await.is_err() {
                return;
            }
            let client = Client::new(&endpoint, name.timeout);
            let asking = ask(text.clone(), client, name.interval, name.tell.clone());
            watched.insert(text, tasks.spawn(asking));
        }
        tokio::select! {
            () = sleep(LOOK_UP) => {}
            panic = panicked(&mut tasks) => resume_unwind(panic),
        }
    }
}

/// Done when one of `tasks` has panicked, and with what. That has restored the terminal, so nothing
/// may be drawn on it any more.
async fn panicked(tasks: &mut JoinSet<()>) -> Box<dyn Any + Send> {
    while let Some(ended) = tasks.join_next().await {
        // The others were those of replicas that have left.
        if let Err(Ok(panic)) = ended.map_err(JoinError::try_into_panic) {
            return panic;
        }
    }
    pending().await
}

/// Asks one replica for as long as somebody wants to know.
async fn ask(endpoint: String, client: Client, every: Duration, tell: mpsc::Sender<Event>) {
    let mut ticks = interval(every);
    // Late is late: two readings at once tell nothing.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let event = match client.get_activity(pb::GetActivityRequest::default()).await {
            Ok(activity) => Event::Answered(endpoint.clone(), Box::new(activity)),
            Err(error) => Event::Failed(endpoint.clone(), error),
        };
        if tell.send(event).await.is_err() {
            return;
        }
    }
}
