//! Domain values to requests, as a client makes them.

use std::time::Duration;

use toolgate_limit::{Check, Identity, OperationKind, TraceContext};

use crate::pb;

impl From<&Check> for pb::CheckRequest {
    fn from(check: &Check) -> Self {
        use pb::check_request::Operation as Named;
        let operation = check.operation.as_ref().map(|operation| {
            let name = operation.name().to_owned();
            match operation.kind() {
                OperationKind::Tool => Named::Tool(name),
                OperationKind::Prompt => Named::Prompt(name),
                OperationKind::Resource => Named::Resource(name),
            }
        });
        Self {
            server: check.server.to_string(),
            identity: Some((&check.identity).into()),
            operation,
            cost: check.cost.get(),
        }
    }
}

impl From<&Identity> for pb::Identity {
    fn from(identity: &Identity) -> Self {
        let text = |part: Option<&str>| part.unwrap_or_default().to_owned();
        Self {
            subject: text(identity.subject()),
            issuer: text(identity.issuer()),
            groups: identity.groups().to_vec(),
        }
    }
}

impl pb::CheckStreamRequest {
    /// One check on a stream, whose caller waits for no longer than `timeout`.
    pub fn new(id: u64, check: pb::CheckRequest, timeout: Duration) -> Self {
        Self {
            id,
            check: Some(check),
            // A timeout that no duration can hold is none.
            timeout: timeout.try_into().ok(),
            ..Self::default()
        }
    }

    /// The same request, of a check that `trace` is the span of.
    #[must_use]
    pub fn traced(self, trace: &TraceContext) -> Self {
        Self {
            traceparent: trace.to_string(),
            tracestate: trace.state.as_ref().to_owned(),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use toolgate_limit::{NameError, Operation};

    use super::*;

    #[test]
    fn a_check_reads_from_its_request_as_it_was() -> Result<(), NameError> {
        let alice = Identity::new("alice")?.of_issuer("https://id.test")?;
        for identity in [
            Identity::anonymous(),
            Identity::new("alice")?,
            alice.in_groups(vec!["staff".to_owned(), String::new()])?,
        ] {
            for operation in [
                None,
                Some(Operation::new(OperationKind::Tool, "search")?),
                Some(Operation::new(OperationKind::Prompt, "weekly")?),
                Some(Operation::new(OperationKind::Resource, "file:///a")?),
            ] {
                let check = Check {
                    server: "default/research".parse()?,
                    identity: identity.clone(),
                    operation,
                    cost: Check::COST_OF_ONE.saturating_add(6),
                    trace: None,
                };
                let read = Check::try_from(pb::CheckRequest::from(&check)).expect("valid");
                assert_eq!(read.server, check.server);
                assert_eq!(read.identity, check.identity);
                assert_eq!(read.operation, check.operation);
                assert_eq!(read.cost, check.cost);
            }
        }
        Ok(())
    }

    #[test]
    fn a_sampled_trace_travels_with_its_check_and_any_other_is_left_behind() {
        let trace: TraceContext = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
            .parse()
            .expect("a traceparent");
        let trace = trace.with_state("rojo=1");
        let check = pb::CheckRequest {
            server: "default/research".to_owned(),
            ..pb::CheckRequest::default()
        };
        let request = || pb::CheckStreamRequest::new(1, check.clone(), Duration::from_secs(1));
        let read = |request: pb::CheckStreamRequest| {
            let (check, _) = request.into_check().expect("valid");
            check.trace.map(|trace| TraceContext::clone(&trace))
        };
        assert_eq!(read(request()), None);
        assert_eq!(read(request().traced(&trace)), Some(trace.clone()));
        let unsampled = TraceContext {
            is_sampled: false,
            ..trace.clone()
        };
        assert_eq!(read(request().traced(&unsampled)), None);
        for wrong in ["00-1-2-01", "é", &"0".repeat(100_000)] {
            let mut request = request().traced(&trace);
            request.traceparent = wrong.to_owned();
            assert_eq!(read(request), None);
        }
    }
}
