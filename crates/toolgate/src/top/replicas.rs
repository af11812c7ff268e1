//! What is known of each replica.

use std::{
    collections::{HashMap, HashSet},
    error::Error as _,
    time::Duration,
};

use tokio::time::Instant;
use toolgate_proto::pb;

use super::{outcomes::Outcomes, watch::Event};
use crate::client::CallError;

/// All replicas, in the order in which they were first heard of.
#[derive(Debug, Default)]
pub(super) struct Replicas(Vec<Watched>);

/// One of them.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) endpoint: String,
    before: Option<pb::GetActivityResponse>,
    last: Option<pb::GetActivityResponse>,
    pub(super) failure: Option<Failure>,
}

/// Why it does not answer now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) since: Instant,
    pub(super) reason: String,
    /// It has answered, with an error.
    pub(super) is_answer: bool,
}

/// A limit of a server, or none for what no limit has refused.
pub(super) type Place<'a> = (&'a str, Option<&'a pb::Limit>);

impl Replicas {
    /// Takes in `event`, which has come `now`.
    pub(super) fn take(&mut self, event: Event, now: Instant) {
        match event {
            Event::Joined(endpoint) => {
                self.of(endpoint);
            }
            Event::Answered(endpoint, activity) => self.of(endpoint).answered(*activity),
            Event::Failed(endpoint, error) => self.of(endpoint).failed(&error, now),
            Event::Left(endpoint) => self.0.retain(|replica| replica.endpoint != endpoint),
        }
    }

    /// Each process once, however many endpoints lead to it: the first of them.
    pub(super) fn each(&self) -> impl Iterator<Item = &Watched> {
        let id = |replica: &'_ Watched| {
            let activity = replica.activity()?;
            Some(activity.replica.as_ref()?.id.clone())
        };
        let mut seen = HashSet::new();
        self.0
            .iter()
            .filter(move |replica| id(replica).is_none_or(|id| seen.insert(id)))
    }

    fn of(&mut self, endpoint: String) -> &mut Watched {
        let known = self.0.iter().position(|it| it.endpoint == endpoint);
        let place = known.unwrap_or_else(|| {
            self.0.push(Watched {
                endpoint,
                before: None,
                last: None,
                failure: None,
            });
            self.0.len() - 1
        });
        &mut self.0[place]
    }
}

impl Watched {
    /// What it has answered last, unless it does not answer now.
    pub(super) fn activity(&self) -> Option<&pb::GetActivityResponse> {
        self.last.as_ref().filter(|_| self.failure.is_none())
    }

    /// Checks since its start, by place.
    pub(super) fn counts(&self) -> HashMap<Place<'_>, Outcomes<u64>> {
        self.activity().map(counts).unwrap_or_default()
    }

    /// Checks a second between the last two readings, by place. None before there are two of one
    /// process.
    pub(super) fn rates(&self) -> Option<HashMap<Place<'_>, Outcomes<f64>>> {
        let (before, last) = (self.before.as_ref()?, self.activity()?);
        if id(before) != id(last) {
            return None;
        }
        let span = seconds(last.read_at.as_ref()?) - seconds(before.read_at.as_ref()?);
        if span <= 0.0 {
            return None;
        }
        let before = counts(before);
        let rate = |place: Place<'_>, now: Outcomes<u64>| {
            let then = before.get(&place).copied().unwrap_or_default();
            now.zip(then, |now, then| as_float(now.saturating_sub(then)) / span)
        };
        let rates = counts(last).into_iter();
        Some(
            rates
                .map(|(place, now)| (place, rate(place, now)))
                .collect(),
        )
    }

    fn answered(&mut self, activity: pb::GetActivityResponse) {
        self.before = self.last.replace(activity);
        self.failure = None;
    }

    fn failed(&mut self, error: &CallError, now: Instant) {
        let reason = error
            .source()
            .map_or_else(|| error.to_string(), ToString::to_string);
        let since = self.failure.as_ref().map_or(now, |failure| failure.since);
        self.failure = Some(Failure {
            since,
            reason: reason.lines().next().unwrap_or_default().to_owned(),
            is_answer: error.is_answer(),
        });
    }
}

fn id(activity: &pb::GetActivityResponse) -> Option<&str> {
    activity.replica.as_ref().map(|replica| &*replica.id)
}

fn counts(activity: &pb::GetActivityResponse) -> HashMap<Place<'_>, Outcomes<u64>> {
    let mut counts: HashMap<Place<'_>, Outcomes<u64>> = HashMap::new();
    for counted in &activity.counts {
        let place = (&*counted.server, counted.limit.as_ref());
        let outcomes = counts.entry(place).or_default();
        outcomes.add(counted.outcome(), counted.count);
    }
    counts
}

/// Since the epoch. As a float it is exact to a microsecond for some centuries.
#[allow(clippy::cast_precision_loss, reason = "see above")]
fn seconds(at: &prost_types::Timestamp) -> f64 {
    at.seconds as f64 + f64::from(at.nanos) / 1e9
}

#[allow(
    clippy::cast_precision_loss,
    reason = "beyond 2^53 checks between two readings"
)]
const fn as_float(count: u64) -> f64 {
    count as f64
}

/// Time from one instant of a replica's clock to another.
pub(super) fn span(
    from: Option<&prost_types::Timestamp>,
    to: Option<&prost_types::Timestamp>,
) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds(to?) - seconds(from?)).ok()
}
