//! Spans of calls to Redis, for checks that are traced.
//!
//! Checks of many callers travel in one call. Each that is traced has a span of that call in its own
//! trace, beneath the span of the check; for the others nothing is made.

use std::sync::Arc;

use opentelemetry::{
    KeyValue,
    global::{BoxedSpan, BoxedTracer},
    trace::{Span as _, SpanBuilder, SpanKind, Status, Tracer as _},
};
use redis::ConnectionAddr;
use toolgate_limit::{Plan, StoreError, TraceContext};
use toolgate_trace::{parent, tracer};

use crate::place::{HostPort, Place, Topology};

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// The script that decides.
    Decide,
    /// A transaction that looks.
    Look,
}

/// Begins spans of calls to one Redis.
#[derive(Debug)]
pub(crate) struct Spans {
    tracer: Option<BoxedTracer>,
    /// What is the same of all.
    of_server: Vec<KeyValue>,
}

impl Spans {
    /// Of calls to `place`, with the provider that this process has by now.
    pub(crate) fn of_process(place: &Place) -> Self {
        Self {
            tracer: tracer("toolgate-redis"),
            of_server: of_server(place),
        }
    }

    /// The spans of a call that decides `plans`: one for each that is traced, in their order.
    pub(crate) fn begin<'a>(
        &self,
        operation: Operation,
        plans: impl Iterator<Item = &'a Plan>,
    ) -> Calls {
        let Some(tracer) = &self.tracer else {
            return Calls(Vec::new());
        };
        let (mut above, mut count) = (Vec::new(), 0);
        for plan in plans {
            let trace = plan.trace().filter(|trace| trace.is_sampled);
            above.extend(trace.map(|trace| (count, trace)));
            count += 1;
        }
        let begun = |(place, trace): (usize, &Arc<TraceContext>)| {
            let builder = self.builder(operation, count);
            (place, tracer.build_with_context(builder, &parent(trace)))
        };
        Calls(above.into_iter().map(begun).collect())
    }

    fn builder(&self, operation: Operation, count: usize) -> SpanBuilder {
        let (name, command, script) = match operation {
            Operation::Decide => ("EVALSHA check.lua", "EVALSHA", Some("check.lua")),
            Operation::Look => ("MULTI", "MULTI", None),
        };
        let mut attributes = Vec::with_capacity(4 + self.of_server.len());
        attributes.push(KeyValue::new("db.system.name", "redis"));
        attributes.push(KeyValue::new("db.operation.name", command));
        attributes.extend(script.map(|name| KeyValue::new("db.stored_procedure.name", name)));
        if count > 1 {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            attributes.push(KeyValue::new("db.operation.batch.size", count));
        }
        attributes.extend_from_slice(&self.of_server);
        SpanBuilder::from_name(name)
            .with_kind(SpanKind::Client)
            .with_attributes(attributes)
    }
}

/// The spans of one call. Dropped, they end without an outcome.
#[derive(Debug)]
pub(crate) struct Calls(Vec<(usize, BoxedSpan)>);

impl Calls {
    /// Ends them; `error_of` is what went wrong with the check at a place, if anything did.
    pub(crate) fn end<'a>(self, error_of: impl Fn(usize) -> Option<&'a StoreError>) {
        for (place, mut span) in self.0 {
            if let Some(error) = error_of(place) {
                span.set_attribute(KeyValue::new("error.type", error.kind()));
                // Its text may hold what Redis says of keys, which hold subjects.
                span.set_status(Status::error(""));
            }
            span.end();
        }
    }
}

/// Where Redis is, by the configuration. Of several addresses the first stands for all.
fn of_server(place: &Place) -> Vec<KeyValue> {
    let at = |host: &str, port: u16| {
        vec![
            KeyValue::new("server.address", host.to_owned()),
            KeyValue::new("server.port", i64::from(port)),
        ]
    };
    let first = |hosts: &[HostPort]| {
        let first = hosts.first();
        first.map_or_else(Vec::new, |first| at(&first.host, first.port))
    };
    let mut attributes = match &place.topology {
        Topology::Single(
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. },
        ) => at(host, *port),
        Topology::Single(ConnectionAddr::Unix(path)) => {
            let path = path.display().to_string();
            vec![KeyValue::new("server.address", path)]
        }
        Topology::Single(_) => Vec::new(),
        Topology::Sentinel { sentinels, .. } => first(sentinels),
        Topology::Cluster { seeds } => first(seeds),
    };
    let database = place.settings.db().to_string();
    attributes.push(KeyValue::new("db.namespace", database));
    attributes
}

#[cfg(test)]
mod tests;
