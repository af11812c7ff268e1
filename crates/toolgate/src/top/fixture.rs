//! Readings as tests make them.

use std::time::Duration;

use tokio::time::Instant;
use toolgate_proto::pb::{self, CheckOutcome};

use super::{replicas::Replicas, view::View, watch::Event};
use crate::client::CallError;

/// When the replicas of tests have started, in seconds since the epoch.
const STARTED: i64 = 1_767_322_800;

/// One replica as tests tell of it.
#[derive(Clone, Debug)]
pub(super) struct Fixture {
    pub(super) endpoint: String,
    pub(super) activity: pb::GetActivityResponse,
}

pub(super) fn limit(scope: pb::Scope, tool: Option<&str>) -> pb::Limit {
    pb::Limit {
        scope: scope.into(),
        operation: tool.map(|name| pb::limit::Operation::Tool(name.to_owned())),
    }
}

/// The limit per user of a tool.
pub(super) fn of_tool(name: &str) -> pb::Limit {
    limit(pb::Scope::PerUser, Some(name))
}

fn at(seconds: f64) -> prost_types::Timestamp {
    #[allow(clippy::cast_possible_truncation, reason = "whole milliseconds")]
    let millis = (seconds * 1_000.0) as i64;
    prost_types::Timestamp {
        seconds: STARTED + millis.div_euclid(1_000),
        nanos: i32::try_from(millis.rem_euclid(1_000) * 1_000_000).expect("below a second"),
    }
}

impl Fixture {
    /// The replica of that number, which serves and has done nothing yet.
    pub(super) fn new(number: u16) -> Self {
        Self {
            endpoint: format!("http://10.0.0.{number}:7070"),
            activity: pb::GetActivityResponse {
                replica: Some(pb::Replica {
                    id: format!("id-{number}"),
                    name: format!("toolgate-{number}"),
                    version: "0.1.0".to_owned(),
                    started_at: Some(at(0.0)),
                }),
                read_at: Some(at(60.0)),
                store: Some(pb::StoreStatus::default()),
                reload: Some(pb::ReloadStatus {
                    generation: 3,
                    ..pb::ReloadStatus::default()
                }),
                policies: "as most".to_owned(),
                counts_checks: true,
                ..pb::GetActivityResponse::default()
            },
        }
    }

    /// So many seconds after the start.
    pub(super) fn read_at(mut self, seconds: f64) -> Self {
        self.activity.read_at = Some(at(seconds));
        self
    }

    pub(super) fn count(mut self, server: &str, outcome: CheckOutcome, count: u64) -> Self {
        self.activity.counts.push(pb::CheckCount {
            server: server.to_owned(),
            outcome: outcome.into(),
            limit: None,
            count,
        });
        self
    }

    pub(super) fn denied(mut self, server: &str, limit: pb::Limit, count: u64) -> Self {
        self.activity.counts.push(pb::CheckCount {
            server: server.to_owned(),
            outcome: CheckOutcome::Denied.into(),
            limit: Some(limit),
            count,
        });
        self
    }

    /// A bucket of capacity 100, with so many tokens left.
    pub(super) fn hot(
        mut self,
        limit: pb::Limit,
        user: Option<&str>,
        rates: (f64, f64),
        remaining: Option<u32>,
    ) -> Self {
        self.activity.hot_buckets.push(pb::HotBucket {
            server: "default/research".to_owned(),
            limit: Some(limit.clone()),
            identity: user.map(|subject| pb::Identity {
                subject: subject.to_owned(),
                ..pb::Identity::default()
            }),
            checks_per_second: rates.0,
            denied_per_second: rates.1,
            status: remaining.map(|remaining| pb::BucketStatus {
                limit: Some(limit),
                capacity: 100,
                remaining,
                ..pb::BucketStatus::default()
            }),
        });
        self
    }

    /// Without its store since so many seconds after the start.
    pub(super) fn degraded(mut self, since: f64, decides_alone: bool) -> Self {
        self.activity.store = Some(pb::StoreStatus {
            degraded_since: Some(at(since)),
            reason: "the store did not answer within 40ms".to_owned(),
            decides_alone,
        });
        self
    }

    pub(super) fn answer(self) -> Event {
        Event::Answered(self.endpoint, Box::new(self.activity))
    }
}

/// What is known after `events`, the last of them some seconds ago.
pub(super) fn view(events: impl IntoIterator<Item = Event>, ago: Duration) -> View {
    let (mut replicas, then) = (Replicas::default(), Instant::now());
    for event in events {
        replicas.take(event, then);
    }
    View::of(&replicas, then + ago)
}

/// A call that has waited too long.
pub(super) fn failed(endpoint: &str) -> Event {
    Event::Failed(endpoint.to_owned(), CallError::no_answer(endpoint))
}
