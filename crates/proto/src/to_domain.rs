//! Requests to domain values. Each error names the field.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use toolgate_limit::{Check, Identity, Operation, OperationKind, ServerId, TraceContext};

use crate::{InvalidField, pb};

impl TryFrom<pb::CheckRequest> for Check {
    type Error = InvalidField;

    fn try_from(request: pb::CheckRequest) -> Result<Self, InvalidField> {
        use pb::check_request::Operation as Named;
        let operation = match &request.operation {
            None => None,
            Some(Named::Tool(name)) => Some(operation(OperationKind::Tool, name)?),
            Some(Named::Prompt(name)) => Some(operation(OperationKind::Prompt, name)?),
            Some(Named::Resource(name)) => Some(operation(OperationKind::Resource, name)?),
        };
        Ok(Self {
            server: server_of(&request.server)?,
            identity: request
                .identity
                .map_or_else(|| Ok(Identity::anonymous()), identity_of)?,
            operation,
            cost: NonZeroU32::new(request.cost).unwrap_or(Self::COST_OF_ONE),
            trace: None,
        })
    }
}

impl TryFrom<pb::PeekRequest> for Check {
    type Error = InvalidField;

    fn try_from(request: pb::PeekRequest) -> Result<Self, InvalidField> {
        check_of(request.check)
    }
}

impl pb::CheckStreamRequest {
    /// The check, and how long the caller waits for its answer; none if the caller does not say.
    pub fn into_check(self) -> Result<(Check, Option<Duration>), InvalidField> {
        let timeout = self.timeout.map(|timeout| {
            Duration::try_from(timeout)
                .map_err(|_| InvalidField::new("timeout", &"must not be negative or out of range"))
        });
        let check = Check {
            trace: trace_of(&self.traceparent, &self.tracestate),
            ..check_of(self.check)?
        };
        Ok((check, timeout.transpose()?))
    }
}

/// The trace that a check belongs to. One that is not sampled is of no use to anybody who decides it,
/// and costs no memory.
fn trace_of(traceparent: &str, tracestate: &str) -> Option<Arc<TraceContext>> {
    let trace: TraceContext = traceparent.parse().ok()?;
    let sampled = trace.is_sampled.then_some(trace)?;
    Some(Arc::new(sampled.with_state(tracestate)))
}

fn check_of(check: Option<pb::CheckRequest>) -> Result<Check, InvalidField> {
    check
        .ok_or_else(|| InvalidField::new("check", &"must be set"))?
        .try_into()
        .map_err(|error: InvalidField| error.within("check"))
}

/// The value of a request's `server` field.
pub fn server_of(server: &str) -> Result<ServerId, InvalidField> {
    server.parse().map_err(InvalidField::at("server"))
}

/// The value of a request's `identity` field.
pub fn identity_of(identity: pb::Identity) -> Result<Identity, InvalidField> {
    let user = Identity::new(identity.subject).map_err(InvalidField::at("identity.subject"))?;
    let user = user
        .of_issuer(identity.issuer)
        .map_err(InvalidField::at("identity.issuer"))?;
    user.in_groups(identity.groups)
        .map_err(InvalidField::at("identity.groups"))
}

/// The operation of a reset request.
pub fn admin_operation(
    named: Option<&pb::reset_buckets_request::Operation>,
) -> Result<Option<Operation>, InvalidField> {
    use pb::reset_buckets_request::Operation as Named;
    match named {
        None => Ok(None),
        Some(Named::Tool(name)) => operation(OperationKind::Tool, name).map(Some),
        Some(Named::Prompt(name)) => operation(OperationKind::Prompt, name).map(Some),
        Some(Named::Resource(name)) => operation(OperationKind::Resource, name).map(Some),
    }
}

fn operation(kind: OperationKind, name: &str) -> Result<Operation, InvalidField> {
    Operation::new(kind, name).map_err(InvalidField::at(kind.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> pb::CheckRequest {
        pb::CheckRequest {
            server: "default/research".to_owned(),
            ..pb::CheckRequest::default()
        }
    }

    fn invalid_field(request: pb::CheckRequest) -> String {
        Check::try_from(request)
            .expect_err("the request is invalid")
            .field
    }

    #[test]
    fn an_invalid_request_names_its_field() {
        use pb::check_request::Operation as Named;
        let with_server = |server: &str| pb::CheckRequest {
            server: server.to_owned(),
            ..request()
        };
        let with_operation = |named| pb::CheckRequest {
            operation: Some(named),
            ..request()
        };
        let with_identity = |subject: &str, issuer: &str| pb::CheckRequest {
            identity: Some(pb::Identity {
                subject: subject.to_owned(),
                issuer: issuer.to_owned(),
                groups: Vec::new(),
            }),
            ..request()
        };
        let long = "x".repeat(10_000);
        for (request, field) in [
            (with_server(""), "server"),
            (with_server("research"), "server"),
            (with_operation(Named::Tool(String::new())), "tool"),
            (with_operation(Named::Prompt(long.clone())), "prompt"),
            (with_operation(Named::Resource(long.clone())), "resource"),
            (with_identity(&long, ""), "identity.subject"),
            (with_identity("alice", &long), "identity.issuer"),
        ] {
            assert_eq!(invalid_field(request), field);
        }
    }

    #[test]
    fn an_invalid_check_within_a_message_names_its_whole_path() {
        let peek = pb::PeekRequest {
            check: Some(pb::CheckRequest::default()),
        };
        let error = Check::try_from(peek).expect_err("no server");
        assert_eq!(error.to_string(), "check.server: must not be empty");
        let error = Check::try_from(pb::PeekRequest::default()).expect_err("no check");
        assert_eq!(error.to_string(), "check: must be set");
    }

    #[test]
    fn a_cost_of_zero_counts_as_one_and_no_identity_is_anonymous() {
        let check = Check::try_from(request()).expect("valid");
        assert_eq!(check.cost.get(), 1);
        assert_eq!(check.identity, Identity::anonymous());
        assert_eq!(check.operation, None);
    }

    #[test]
    fn a_negative_timeout_is_refused() {
        let request = pb::CheckStreamRequest {
            id: 1,
            check: Some(request()),
            timeout: Some(prost_types::Duration {
                seconds: -1,
                nanos: 0,
            }),
            ..pb::CheckStreamRequest::default()
        };
        assert_eq!(request.into_check().expect_err("negative").field, "timeout");
    }
}
