//! One line of the audit stream.

use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;
use toolgate_limit::{Check, Denial, Operation, Scope, Timestamp};

use super::Salt;

/// A denial, and what is missing before it.
pub(super) struct Line<'a> {
    pub(super) time: Timestamp,
    pub(super) check: &'a Check,
    pub(super) denial: &'a Denial,
    /// The call ran: its policy is in shadow mode.
    pub(super) is_shadow: bool,
    pub(super) is_degraded: bool,
    pub(super) dropped: u64,
}

/// As docs/observability.md describes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    time: String,
    server: &'a str,
    operation: Option<String>,
    limit: JsonLimit,
    subject: String,
    cost: u32,
    retry_after_seconds: Option<f64>,
    shadow: bool,
    degraded: bool,
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "is_none")]
    dropped_before: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonLimit {
    scope: &'static str,
    operation: Option<String>,
    capacity: u32,
    refill_period_seconds: f64,
}

impl Line<'_> {
    /// The line, with its end.
    pub(super) fn to_json(&self, salt: &Salt) -> String {
        let operation = |operation: Option<&Operation>| operation.map(|of| salt.operation(of));
        let limit = &self.denial.limit;
        let trace = self.check.trace.as_ref();
        let json = Json {
            time: rfc3339(self.time),
            server: self.check.server.as_str(),
            operation: operation(self.check.operation.as_ref()),
            limit: JsonLimit {
                scope: match limit.scope() {
                    Scope::Global => "global",
                    Scope::PerUser => "perUser",
                },
                operation: operation(limit.operation()),
                capacity: limit.quota().capacity(),
                refill_period_seconds: limit.quota().refill_period().as_secs_f64(),
            },
            subject: salt.user(&self.check.identity),
            cost: self.denial.cost,
            retry_after_seconds: self.denial.retry_after.map(|wait| wait.as_secs_f64()),
            shadow: self.is_shadow,
            degraded: self.is_degraded,
            trace_id: trace.map(|trace| format!("{:032x}", trace.trace_id)),
            dropped_before: self.dropped,
        };
        // Neither the types nor the names of its fields can be refused.
        let mut line = serde_json::to_string(&json).unwrap_or_default();
        line.push('\n');
        line
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

fn rfc3339(time: Timestamp) -> String {
    let since_epoch = Duration::from_micros(time.as_micros());
    prost_types::Timestamp::from(UNIX_EPOCH + since_epoch).to_string()
}
