//! Domain values to replies.

use std::time::Duration;

use toolgate_limit::{
    Answer, BucketStatus, Decision, Denial, Limit, Mode, OperationKind, Policy, Scope,
};

use crate::pb;

impl From<Answer> for pb::CheckResponse {
    fn from(answer: Answer) -> Self {
        let (decision, denial) = match &answer.decision {
            Decision::Allowed => (pb::Decision::Allowed, None),
            Decision::Denied(denial) => (pb::Decision::Denied, Some(denial.into())),
        };
        Self {
            decision: decision.into(),
            denial,
            buckets: answer.buckets.iter().map(Into::into).collect(),
            degraded: answer.degraded,
            unlimited: answer.unlimited,
            policy: answer.policy.map(|s| s.to_string()).unwrap_or_default(),
            uncertainty: (!answer.uncertainty.is_zero()).then(|| duration(answer.uncertainty)),
        }
    }
}

impl From<&Denial> for pb::Denial {
    fn from(denial: &Denial) -> Self {
        Self {
            limit: Some(denial.limit.as_ref().into()),
            retry_after: denial.retry_after.map(duration),
            message: message(denial),
        }
    }
}

fn message(denial: &Denial) -> String {
    use std::fmt::Write as _;
    // What most are no longer than, so that it need not grow.
    let mut message = String::with_capacity(96);
    let _ = write!(message, "{denial}"); // a String takes all
    message
}

impl From<&BucketStatus> for pb::BucketStatus {
    fn from(status: &BucketStatus) -> Self {
        let quota = status.limit.quota();
        Self {
            limit: Some(status.limit.as_ref().into()),
            capacity: quota.capacity(),
            refill_period: Some(duration(quota.refill_period())),
            remaining: status.remaining,
            full_after: Some(duration(status.full_after)),
        }
    }
}

impl From<&Limit> for pb::Limit {
    fn from(limit: &Limit) -> Self {
        let scope = match limit.scope() {
            Scope::Global => pb::Scope::Global,
            Scope::PerUser => pb::Scope::PerUser,
        };
        let operation = limit.operation().map(|operation| {
            let name = operation.name().to_owned();
            match operation.kind() {
                OperationKind::Tool => pb::limit::Operation::Tool(name),
                OperationKind::Prompt => pb::limit::Operation::Prompt(name),
                OperationKind::Resource => pb::limit::Operation::Resource(name),
            }
        });
        Self {
            scope: scope.into(),
            operation,
        }
    }
}

/// Without an origin, which a policy does not know.
impl From<&Policy> for pb::Policy {
    fn from(policy: &Policy) -> Self {
        let mode = match policy.mode() {
            Mode::Enforce => pb::Mode::Enforce,
            Mode::Shadow => pb::Mode::Shadow,
        };
        let limits = policy.limits().into_iter().map(|limit| pb::PolicyLimit {
            limit: Some(limit.as_ref().into()),
            capacity: limit.quota().capacity(),
            refill_period: Some(duration(limit.quota().refill_period())),
        });
        Self {
            server: policy.server().to_string(),
            mode: mode.into(),
            limits: limits.collect(),
            origin: String::new(),
        }
    }
}

fn duration(span: Duration) -> prost_types::Duration {
    prost_types::Duration {
        // 2^63 seconds are beyond any span that a quota allows.
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: span.subsec_nanos().cast_signed(),
    }
}
