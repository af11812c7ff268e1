//! What the one replica does that leads: it compares what is with what is written, and writes.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    convert::Infallible,
    time::Duration,
};

use k8s_openapi::api::events::v1::Event;
use kube::Error;
use tokio::{
    select,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};
use toolgate_policy::Kind;

use due::Due;
use memory::Memory;

use super::{
    Views,
    cluster::{Cluster, is_outage},
    condition::{Facts, is_pending},
    event::{news, state_of},
    replicas::Replicas,
};
use crate::{
    backoff::Backoff,
    objects::ObjectKey,
    source::{Judged, View},
    watch::chain,
};

mod due;
mod memory;

/// The least time between two writes: 50 a second. A thousand policies take 20 s when none has a
/// status yet, and an API server does not feel it.
const PACE: Duration = Duration::from_millis(20);

/// The most writes in one round; then what is new meanwhile has its turn.
const WRITES: usize = 50;

/// The least time between two rounds.
const ROUND: Duration = Duration::from_millis(100);

/// How often the Leases of replicas are read: while some replica has yet to come as far as it should,
/// and otherwise.
const LOOK_SOON: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_secs(10);

/// The most Events that wait.
const EVENTS: usize = 1_024;

/// The leader, for one term. It begins with nothing that it knew in another one.
pub(super) struct Leader {
    cluster: Cluster,
    views: Views,
    replicas: Replicas,
    /// By the uid of each policy.
    policies: HashMap<String, Memory>,
    /// What people were told of objects that have no status of ours: uid, generation and reason.
    told: HashSet<(String, i64, &'static str)>,
    events: VecDeque<Event>,
    pace: Interval,
    /// The policy, by its uid, at whose status the API server failed last.
    failed_at: Option<String>,
    is_failing: bool,
}

impl Leader {
    pub(super) fn new(cluster: &Cluster, views: Views) -> Self {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            cluster: cluster.clone(),
            views,
            replicas: Replicas::default(),
            policies: HashMap::new(),
            told: HashSet::new(),
            events: VecDeque::new(),
            pace,
            failed_at: None,
            is_failing: false,
        }
    }

    /// Leads until it is dropped.
    pub(super) async fn lead(mut self) -> Infallible {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        let mut looked = None;
        loop {
            let began = Instant::now();
            let round = self.round(&mut looked).await;
            let wake = match round {
                Ok(wake) => {
                    self.is_failing = false;
                    backoff.reset();
                    wake
                }
                Err(error) => {
                    self.failed(&error);
                    // Others could renew their Leases as little as this one could ask for them.
                    self.replicas = Replicas::default();
                    looked = None;
                    backoff.wait().await;
                    continue;
                }
            };
            sleep_until(began + ROUND).await;
            select! {
                () = sleep_until(wake) => {}
                changed = self.views.changed() => if changed.is_err() {
                    // The last view stays; what replicas say of it may change.
                    sleep_until(wake).await;
                },
            }
        }
    }

    /// Looks once, and writes what differs, though not all of it if there is much. When to look
    /// again if nothing happens. An error means that the API server cannot be asked.
    async fn round(&mut self, looked: &mut Option<Instant>) -> Result<Instant, Error> {
        let now = Instant::now();
        if looked.is_none_or(|looked| now.duration_since(looked) >= LOOK_SOON) {
            self.look_at_replicas().await?;
            *looked = Some(now);
        }
        let Some(view) = self.views.borrow_and_update().clone() else {
            return Ok(now + LOOK);
        };
        let (mut due, is_pending) = self.due(&view);
        self.tell_of_others(&view);
        let all = due.len();
        due.truncate(WRITES);
        let mut refused = Vec::new();
        for one in due {
            refused.extend(self.write(one).await?);
        }
        if let Some((key, error)) = refused.first() {
            let policies = refused.len();
            tracing::warn!(policies, %key, reason = chain(error), "the status of policies is refused");
        }
        let is_heard = self.send_events().await;
        let is_more = all > WRITES || (is_heard && !self.events.is_empty());
        let is_pending = is_pending || !is_heard;
        Ok(match (is_more, is_pending) {
            (true, _) => now,
            (false, true) => now + LOOK_SOON,
            (false, false) => now + LOOK,
        })
    }

    async fn look_at_replicas(&mut self) -> Result<(), Error> {
        let leases = self.cluster.list_leases().await?;
        let now = self.cluster.now();
        self.replicas.observe(&leases, now);
        for (name, heartbeat) in self.replicas.forgotten(now).take(WRITES) {
            // Renewed meanwhile, or deleted by somebody else: both are well. Else it is tried again.
            if let Err(error) = self.cluster.delete_lease(name, heartbeat).await {
                tracing::debug!(name, %error, "a Lease that has run out stays");
            }
        }
        Ok(())
    }

    /// The statuses to write, those first that people wait for, and whether replicas have yet to come
    /// as far as they should.
    fn due(&mut self, view: &View) -> (Vec<Due>, bool) {
        let now = self.cluster.now();
        let replicas = self.replicas.live(now);
        let mut known = std::mem::take(&mut self.policies);
        let mut due = Vec::new();
        let mut any_pending = false;
        let of_ours = |object: &&Judged| object.key.kind == Kind::RateLimitPolicy;
        for object in view.objects.iter().filter(of_ours) {
            let uid = &object.revision.uid;
            let mut memory = known.remove(uid).unwrap_or_default();
            let (resource_version, before) = memory.latest(object);
            let facts = Facts {
                object,
                since: &memory.since,
                replicas: &replicas,
                before: &before,
            };
            let after = facts.status(now);
            any_pending |= is_pending(&after);
            if after != before && !memory.is_left_alone(&resource_version) {
                due.push(Due {
                    object: object.clone(),
                    resource_version,
                    before,
                    after,
                });
            }
            self.policies.insert(uid.clone(), memory);
        }
        due.sort_by_cached_key(Due::rank);
        (due, any_pending)
    }

    /// Writes one status. An answer that concerns this policy alone is given back; it is tried again
    /// later. An error means that the API server cannot be asked.
    async fn write(&mut self, due: Due) -> Result<Option<(ObjectKey, Error)>, Error> {
        self.pace.tick().await;
        let key = &due.object.key;
        let written = self
            .cluster
            .write_status(key, &due.resource_version, &due.after)
            .await;
        let Some(memory) = self.policies.get_mut(&due.object.revision.uid) else {
            return Ok(None);
        };
        match written {
            Ok(written) => {
                memory.wrote(written);
                for news in news(&due.object, &due.before, &due.after) {
                    let replica = &self.cluster.config.replica;
                    let event = news.event(&due.object, replica, self.cluster.now());
                    enqueue(&mut self.events, event);
                }
                Ok(None)
            }
            Err(error) if is_outage(&error) => {
                // It may be this policy alone that cannot be written; others must have their turn.
                let uid = Some(due.object.revision.uid);
                if self.failed_at == uid {
                    memory.was_refused(due.resource_version);
                }
                self.failed_at = uid;
                Err(error)
            }
            Err(error) => {
                memory.was_refused(due.resource_version);
                let is_stale =
                    matches!(&error, Error::Api(status) if [404, 409].contains(&status.code));
                if is_stale {
                    tracing::debug!(%key, "a status is not written: the policy has changed");
                    return Ok(None);
                }
                Ok(Some((due.object.key, error)))
            }
        }
    }

    /// Makes Events about objects that have no status of ours, once for each generation and reason.
    fn tell_of_others(&mut self, view: &View) {
        let others = || {
            let all = view.objects.iter();
            all.filter(|object| object.key.kind != Kind::RateLimitPolicy)
        };
        let now = self.cluster.now();
        let mut still_so = HashSet::new();
        for object in others() {
            for news in state_of(object) {
                let revision = &object.revision;
                let told = (revision.uid.clone(), revision.generation, news.reason);
                if !self.told.contains(&told) {
                    let event = news.event(object, &self.cluster.config.replica, now);
                    enqueue(&mut self.events, event);
                }
                still_so.insert(told);
            }
        }
        self.told = still_so;
    }

    /// Whether the API server takes Events. If it does not, they wait; statuses go on.
    async fn send_events(&mut self) -> bool {
        for _ in 0..WRITES {
            let Some(event) = self.events.front() else {
                break;
            };
            self.pace.tick().await;
            match self.cluster.create_event(event).await {
                Err(error) if is_outage(&error) => {
                    tracing::debug!(reason = chain(&error), "Events wait");
                    return false;
                }
                Err(error) => {
                    let reason = chain(&error);
                    tracing::warn!(reason, "an Event cannot be written");
                }
                Ok(()) => {}
            }
            self.events.pop_front();
        }
        true
    }

    fn failed(&mut self, error: &Error) {
        let reason = chain(error);
        if self.is_failing {
            tracing::debug!(reason, "the status of policies cannot be written");
        } else {
            tracing::warn!(reason, "the status of policies cannot be written");
        }
        self.is_failing = true;
    }
}

/// The oldest gives way if there are too many.
fn enqueue(events: &mut VecDeque<Event>, event: Event) {
    if events.len() >= EVENTS {
        events.pop_front();
    }
    events.push_back(event);
}

#[cfg(test)]
mod tests;
