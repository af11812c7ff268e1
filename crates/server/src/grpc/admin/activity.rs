//! `GetActivity`: what this replica has decided, how it does, and what is hot.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::time::timeout;
use tonic::Status;
use toolgate_limit::{BucketStatus, Check, Identity, Limit, OperationKind, Scope};
use toolgate_proto::pb::{
    self, CheckOutcome, GetActivityRequest, GetActivityResponse, ReloadStatus, limit::Operation,
};
use toolgate_telemetry::Latest;

use super::{fingerprint::Fingerprint, timestamp};
use crate::{
    bound::Bound,
    grpc::status,
    observe::{Activity, Counters, Course, HotBucket, Target},
    outage::ReplicaLimiter,
};

/// Hot buckets at each scope when the caller does not say how many, and at most.
const HOT_BUCKETS: (usize, usize) = (20, 100);

/// How long the store has to show hot buckets. They are shown without their tokens after that: a
/// viewer waits for the whole reply.
const STORE_PATIENCE: Duration = Duration::from_millis(250);

/// Reads the activity of a replica.
#[derive(Debug)]
pub(crate) struct ActivityReader {
    activity: Activity,
    limiter: ReplicaLimiter,
    checks: Bound,
    readings: Readings,
}

/// What all readers of a process share: as much as the policies and the users have names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readings {
    counts: Latest<Vec<pb::CheckCount>>,
    hot: Latest<Hot>,
    policies: Latest<String>,
    fingerprint: Arc<Fingerprint>,
}

/// The hottest buckets, as many as a caller may ask for.
#[derive(Debug)]
struct Hot {
    error: f64,
    buckets: Vec<HotBucket>,
}

impl ActivityReader {
    /// Asks `limiter` for the tokens of hot buckets, and `checks` for those in flight.
    pub(crate) const fn new(
        activity: Activity,
        limiter: ReplicaLimiter,
        checks: Bound,
        readings: Readings,
    ) -> Self {
        Self {
            activity,
            limiter,
            checks,
            readings,
        }
    }

    pub(super) async fn read(
        &self,
        request: &GetActivityRequest,
        reload: ReloadStatus,
    ) -> Result<GetActivityResponse, Status> {
        let most = super::at_most(request.max_hot_buckets, HOT_BUCKETS, "max_hot_buckets");
        let most = most.map_err(status::invalid)?;
        let hot = self.hot().await.ok_or_else(status::failed)?;
        let hot_buckets = hot.hottest(most).map(|hot| self.look(hot));
        let hot_buckets = join_all(hot_buckets).await;
        let replica = self.activity.replica();
        // After the waiting, so that counts are of this time.
        let read_at = self.activity.now();
        let counts = self.counts().await.ok_or_else(status::failed)?;
        let policies = self.policies().await.ok_or_else(status::failed)?;
        Ok(GetActivityResponse {
            replica: Some(pb::Replica {
                id: replica.id.clone(),
                name: replica.name.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started_at: Some(timestamp(replica.started_at)),
            }),
            read_at: Some(timestamp(read_at)),
            counts: Vec::clone(&counts),
            counts_checks: self.activity.counters().is_some(),
            in_flight: u64::try_from(self.checks.taken()).unwrap_or(u64::MAX),
            store: Some(self.store_status()),
            reload: Some(reload),
            policies: String::clone(&policies),
            hot_buckets,
            hot_bucket_error: hot.error,
        })
    }

    async fn hot(&self) -> Option<Arc<Hot>> {
        let activity = self.activity.clone();
        let hot = self.readings.hot.make(move || {
            let hot = activity.hot_buckets();
            Hot {
                error: hot.error(),
                buckets: hot.hottest(HOT_BUCKETS.1),
            }
        });
        hot.await
    }

    async fn counts(&self) -> Option<Arc<Vec<pb::CheckCount>>> {
        let Some(counters) = self.activity.counters() else {
            return Some(Arc::default());
        };
        let counters = counters.clone();
        let counts = self.readings.counts.make(move || counts(&counters));
        counts.await
    }

    async fn policies(&self) -> Option<Arc<String>> {
        let snapshot = self.limiter.snapshot();
        let fingerprint = Arc::clone(&self.readings.fingerprint);
        let policies = self
            .readings
            .policies
            .make(move || fingerprint.of(&snapshot));
        policies.await
    }

    fn store_status(&self) -> pb::StoreStatus {
        match self.limiter.outage() {
            None => pb::StoreStatus::default(),
            Some((since, reason)) => pb::StoreStatus {
                degraded_since: Some(timestamp(since)),
                reason,
                decides_alone: self.limiter.decides_alone(),
            },
        }
    }

    /// The bucket with its tokens, if the store shows them in time.
    async fn look(&self, hot: &HotBucket) -> pb::HotBucket {
        let status = timeout(STORE_PATIENCE, self.status(hot)).await;
        let status = status.ok().flatten();
        pb::HotBucket {
            server: hot.limit.server().to_string(),
            limit: Some((&*hot.limit).into()),
            identity: hot.identity.as_ref().map(|identity| pb::Identity {
                subject: identity.subject().unwrap_or_default().to_owned(),
                issuer: identity.issuer().unwrap_or_default().to_owned(),
                groups: Vec::new(),
            }),
            checks_per_second: hot.checks,
            denied_per_second: hot.denied,
            status: status.as_ref().map(Into::into),
        }
    }

    /// A peek shows the bucket among at most four.
    async fn status(&self, hot: &HotBucket) -> Option<BucketStatus> {
        let check = Check {
            server: hot.limit.server().clone(),
            identity: hot.identity.clone().unwrap_or_else(Identity::anonymous),
            operation: hot.limit.operation().cloned(),
            cost: Check::COST_OF_ONE,
            trace: None,
        };
        let answer = self.limiter.look_in_store(&check).await.ok()?;
        let is_meant =
            |of: &Limit| of.scope() == hot.limit.scope() && of.operation() == hot.limit.operation();
        let mut buckets = answer.buckets.into_iter();
        buckets.find(|bucket| is_meant(&bucket.limit))
    }
}

impl Hot {
    /// At each scope the first `most`.
    fn hottest(&self, most: usize) -> impl Iterator<Item = &HotBucket> {
        let of_users = |is_user: bool| {
            let buckets = self.buckets.iter();
            let of_scope = buckets.filter(move |bucket| bucket.identity.is_some() == is_user);
            of_scope.take(most)
        };
        of_users(false).chain(of_users(true))
    }
}

/// Each server, outcome and limit once, however many workers and operations have it.
fn counts(counters: &Counters) -> Vec<pb::CheckCount> {
    let mut counts: HashMap<_, u64> = HashMap::new();
    for counted in counters.by_limit() {
        let server = counted.server.as_ref().map(ToString::to_string);
        let key = (
            server.unwrap_or_default(),
            outcome(counted.course),
            counted
                .limit
                .map(|limit| limit_of(limit.scope, limit.target)),
        );
        *counts.entry(key).or_default() += counted.count;
    }
    let errors = counters.errors();
    if errors > 0 {
        counts.insert((String::new(), CheckOutcome::Error, None), errors);
    }
    let message = |((server, outcome, limit), count)| pb::CheckCount {
        server,
        outcome: CheckOutcome::into(outcome),
        limit,
        count,
    };
    counts.into_iter().map(message).collect()
}

const fn outcome(course: Course) -> CheckOutcome {
    match course {
        Course::Allowed => CheckOutcome::Allowed,
        Course::Denied => CheckOutcome::Denied,
        Course::ShadowDenied => CheckOutcome::ShadowDenied,
        Course::Unlimited => CheckOutcome::Unlimited,
    }
}

fn limit_of(scope: Scope, target: Target) -> pb::Limit {
    let scope = match scope {
        Scope::Global => pb::Scope::Global,
        Scope::PerUser => pb::Scope::PerUser,
    };
    let operation = match target {
        Target::Server => None,
        Target::Resources => Some(Operation::Resource(String::new())),
        Target::Operation(operation) => {
            let name = operation.name().to_owned();
            Some(match operation.kind() {
                OperationKind::Tool => Operation::Tool(name),
                OperationKind::Prompt => Operation::Prompt(name),
                OperationKind::Resource => Operation::Resource(name),
            })
        }
    };
    pb::Limit {
        scope: scope.into(),
        operation,
    }
}
