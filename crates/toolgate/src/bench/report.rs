//! What came out of a run, for people and for scripts.

mod text;

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;
use tonic::Code;
use toolgate_limit::GoDuration;

use super::{
    Load,
    admission::{Finding, Kind},
    tally::{Counts, Tally},
};
use crate::client::{CallError, code_name};

/// The figures of a run. Its JSON form is what scripts read.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    load: Described,
    /// From the end of the warm-up to the last answer, or to the planned end if that is later.
    measured_seconds: f64,
    /// Checks after the warm-up.
    checks: Numbers,
    /// Checks that were meant to go before.
    warm_up_checks: Numbers,
    /// Answers to nothing that was asked; a limiter gives none.
    unexpected_answers: u64,
    /// Checks decided a second.
    checks_per_second: f64,
    /// From when a check was meant to go until its decision; null if there was none.
    latency_micros: Option<Latency>,
    /// Open loop only: how the generator kept its own times.
    behind: Option<Behind>,
    /// CPU time of this process for each decided check.
    generator_cpu_micros_per_check: Option<f64>,
    admission: Admission,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    server: String,
    endpoints: Vec<String>,
    mode: &'static str,
    users: u32,
    tools: u32,
    keys: String,
    cost: u32,
    connections: u32,
    in_flight: u32,
    /// Checks a second; null: closed loop.
    rate: Option<u64>,
    threads: u32,
    /// The share of checks that are sampled, of checks that are all traced; null: none is.
    traced: Option<f64>,
    seed: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Numbers {
    sent: u64,
    answered: u64,
    allowed: u64,
    denied: u64,
    degraded: u64,
    failed: BTreeMap<String, u64>,
    unanswered: u64,
}

#[derive(Debug, Serialize)]
struct Latency {
    min: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    p9999: f64,
    max: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Behind {
    /// From when a check was meant to go until it went.
    p50_micros: f64,
    p99_micros: f64,
    max_micros: f64,
    /// Checks that were meant to go and never have.
    unsent: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Admission {
    /// From the first send to the last answer, the warm-up included.
    span_seconds: f64,
    /// Buckets that admitted more than their bound.
    over: u64,
    /// The largest of all, null if no bucket was seen.
    worst_ratio: Option<f64>,
    /// Why the quotas of buckets that no answer names are not known, if they are not.
    policy_unread: Option<String>,
    /// One for each kind of bucket that was seen.
    limits: Vec<LimitFinding>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LimitFinding {
    kind: &'static str,
    buckets: u64,
    over: u64,
    quota_changed: bool,
    users_left_out: u64,
    worst: WorstBucket,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WorstBucket {
    /// Null where all users share the bucket.
    user: Option<String>,
    /// Null where all tools share it.
    tool: Option<String>,
    capacity: u64,
    refill_period_seconds: f64,
    admitted: u64,
    bound: u64,
    ratio: f64,
}

impl Report {
    /// `spent` is the generator's CPU time after the warm-up; `policy_unread`, why a policy is not
    /// known that was asked for.
    pub(super) fn new(
        load: &Load,
        tally: &Tally,
        spent: Duration,
        policy_unread: Option<CallError>,
    ) -> Self {
        let planned = load.span();
        let measured = Duration::from_nanos(tally.last_answer.max(planned.end) - planned.warm_up);
        let answered = tally.measured.answered();
        let per_check = |spent: Duration| spent.as_secs_f64() * 1e6 / to_f64(answered);
        let first = tally.first_sent.unwrap_or_default();
        let span = Duration::from_nanos(tally.last_answer.saturating_sub(first));
        let findings = tally.admissions.findings(span);
        Self {
            load: Described::of(load),
            measured_seconds: measured.as_secs_f64(),
            checks: Numbers::of(&tally.measured),
            warm_up_checks: Numbers::of(&tally.warm_up),
            unexpected_answers: tally.unexpected,
            checks_per_second: to_f64(answered) / measured.as_secs_f64(),
            latency_micros: (answered > 0).then(|| Latency::of(&tally.latency)),
            behind: load.rate.map(|_| Behind {
                p50_micros: micros(tally.behind.value_at_quantile(0.5)),
                p99_micros: micros(tally.behind.value_at_quantile(0.99)),
                max_micros: micros(tally.behind.max()),
                unsent: tally.unsent,
            }),
            generator_cpu_micros_per_check: (answered > 0).then(|| per_check(spent)),
            admission: Admission {
                span_seconds: span.as_secs_f64(),
                over: findings.iter().map(|finding| finding.over).sum(),
                worst_ratio: findings
                    .iter()
                    .map(|finding| finding.worst.ratio)
                    .max_by(f64::total_cmp),
                policy_unread: policy_unread
                    .map(|error| format!("{:#}", anyhow::Error::from(error))),
                limits: findings
                    .iter()
                    .map(|finding| LimitFinding::of(finding, load))
                    .collect(),
            },
        }
    }

    /// Whether a bucket has admitted more than it may.
    pub(crate) fn is_over(&self) -> bool {
        self.admission.over > 0
    }

    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

impl Described {
    fn of(load: &Load) -> Self {
        Self {
            server: load.server.clone(),
            endpoints: load.endpoints.iter().map(ToString::to_string).collect(),
            mode: match load.mode {
                super::Mode::Unary => "unary",
                super::Mode::Stream => "stream",
            },
            users: load.users,
            tools: load.tools,
            keys: load.spread.to_string(),
            cost: load.cost,
            connections: load.connections,
            in_flight: load.in_flight,
            rate: load.rate.map(Into::into),
            threads: load.threads,
            traced: load.traced.map(|super::Share(share)| share),
            seed: load.seed,
        }
    }
}

impl Numbers {
    fn of(counts: &Counts) -> Self {
        let named = |(&code, &count): (&i32, &u64)| (code_name(Code::from_i32(code)), count);
        Self {
            sent: counts.sent(),
            answered: counts.answered(),
            allowed: counts.allowed,
            denied: counts.denied,
            degraded: counts.degraded,
            failed: counts.failed.iter().map(named).collect(),
            unanswered: counts.unanswered,
        }
    }
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| micros(histogram.value_at_quantile(quantile));
        Self {
            min: micros(histogram.min()),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: micros(histogram.max()),
        }
    }
}

impl LimitFinding {
    fn of(finding: &Finding, load: &Load) -> Self {
        let worst = finding.worst;
        let user = |prefix: &str| format!("{prefix}{}", worst.key.user);
        let tool = |prefix: &str| format!("{prefix}{}", worst.key.tool);
        let user = finding.kind.per_user().then(|| user(&load.user_prefix));
        let tool = finding.kind.of_operation().then(|| tool(&load.tool_prefix));
        Self {
            kind: match finding.kind {
                Kind::ServerGlobal => "global",
                Kind::OperationGlobal => "tool global",
                Kind::ServerPerUser => "per user",
                Kind::OperationPerUser => "tool per user",
            },
            buckets: finding.buckets,
            over: finding.over,
            quota_changed: finding.quota_changed,
            users_left_out: finding.users_left_out,
            worst: WorstBucket {
                user: user.filter(|_| load.users > 0),
                tool,
                capacity: worst.quota.capacity,
                refill_period_seconds: Duration::from_nanos(worst.quota.period).as_secs_f64(),
                admitted: worst.admitted,
                bound: worst.bound,
                ratio: worst.ratio,
            },
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "figures of a few digits")]
fn to_f64(number: u64) -> f64 {
    number as f64
}

fn micros(nanos: u64) -> f64 {
    to_f64(nanos) / 1e3
}
