//! A view for scripts. Counts are of each process since its start; rates are in checks a second.

use serde::Serialize;
use toolgate_proto::pb;

use crate::{
    output::json::{BucketStatus, Limit},
    top::{
        outcomes::Outcomes,
        view::{self, Sum},
    },
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    #[serde(flatten)]
    checks: Checks,
    in_flight: u64,
    servers: Vec<Server<'a>>,
    hot_buckets: Vec<HotBucket<'a>>,
    /// By how much their rates may be too low, and the rate of one that is missing.
    hot_bucket_error: f64,
    replicas: Vec<Replica<'a>>,
}

#[derive(Serialize)]
struct Checks {
    counts: Outcomes<u64>,
    rates: Option<Outcomes<f64>>,
}

#[derive(Serialize)]
struct Server<'a> {
    /// Empty: servers without a policy.
    #[serde(rename = "server")]
    name: &'a str,
    #[serde(flatten)]
    checks: Checks,
    limits: Vec<Refusals<'a>>,
}

#[derive(Serialize)]
struct Refusals<'a> {
    limit: Limit<'a>,
    #[serde(flatten)]
    checks: Checks,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HotBucket<'a> {
    server: &'a str,
    limit: Limit<'a>,
    /// Null: all callers share the bucket.
    identity: Option<Identity<'a>>,
    checks_per_second: f64,
    denied_per_second: f64,
    /// Null: not known.
    status: Option<BucketStatus<'a>>,
}

#[derive(Serialize)]
struct Identity<'a> {
    subject: &'a str,
    issuer: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Replica<'a> {
    endpoint: &'a str,
    name: &'a str,
    version: &'a str,
    /// One of a few: `serving`, `degraded`, ...
    state: &'a str,
    state_seconds: Option<f64>,
    reason: &'a str,
    generation: u64,
    policies_differ: bool,
    counts_checks: bool,
    reload_errors: &'a [String],
    in_flight: u64,
    up_seconds: Option<f64>,
    #[serde(flatten)]
    checks: Checks,
}

pub(super) fn to_json(view: &view::View) -> serde_json::Result<String> {
    serde_json::to_string(&View {
        checks: view.sum.into(),
        in_flight: view.in_flight,
        servers: view.servers.iter().map(Into::into).collect(),
        hot_buckets: view.hot.iter().map(Into::into).collect(),
        hot_bucket_error: view.hot_error,
        replicas: view.replicas.iter().map(Into::into).collect(),
    })
}

impl From<Sum> for Checks {
    fn from(sum: Sum) -> Self {
        Self {
            counts: sum.counts,
            rates: sum.rates,
        }
    }
}

impl<'a> From<&'a view::Server> for Server<'a> {
    fn from(server: &'a view::Server) -> Self {
        let limits = server.limits.iter().map(|refusals| Refusals {
            limit: (&refusals.limit).into(),
            checks: refusals.sum.into(),
        });
        Self {
            name: &server.name,
            checks: server.sum.into(),
            limits: limits.collect(),
        }
    }
}

impl<'a> From<&'a view::Hot> for HotBucket<'a> {
    fn from(hot: &'a view::Hot) -> Self {
        let identity = |identity: &'a pb::Identity| Identity {
            subject: &identity.subject,
            issuer: &identity.issuer,
        };
        Self {
            server: &hot.server,
            limit: (&hot.limit).into(),
            identity: hot.identity.as_ref().map(identity),
            checks_per_second: hot.checks,
            denied_per_second: hot.denied,
            status: hot.status.as_ref().map(Into::into),
        }
    }
}

impl<'a> From<&'a view::Replica> for Replica<'a> {
    fn from(replica: &'a view::Replica) -> Self {
        let trouble = replica.state.trouble();
        Self {
            endpoint: &replica.endpoint,
            name: &replica.name,
            version: &replica.version,
            state: replica.state.as_str(),
            state_seconds: trouble.map(|trouble| trouble.lasts.as_secs_f64()),
            reason: trouble.map_or("", |trouble| &trouble.reason),
            generation: replica.generation,
            policies_differ: replica.is_other,
            counts_checks: !replica.counts_nothing,
            reload_errors: &replica.reload_errors,
            in_flight: replica.in_flight,
            up_seconds: replica.up.map(|up| up.as_secs_f64()),
            checks: replica.sum.into(),
        }
    }
}
