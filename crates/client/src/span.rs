//! The span of a call to a limiter, and what the caller's own span says where there is none.
//!
//! A call is traced if its caller's span is, and then only: nobody looks at the limiter's part of a
//! trace that has no other. All else costs a look at the current span.

use std::{borrow::Cow, sync::Arc};

use opentelemetry::{
    Context,
    trace::{Status, TraceContextExt as _},
};
use toolgate_limit::{Answer, Check, LimiterError, TraceContext};
use toolgate_trace::{context_of, words};
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Peek,
    CheckStream,
}

impl Method {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Peek => "toolgate.v1.LimiterService/Peek",
            Self::CheckStream => "toolgate.v1.LimiterService/CheckStream",
        }
    }
}

/// A call that is sent. Dropped before its end, it says that its caller has given up.
#[derive(Debug)]
pub(crate) struct CallSpan {
    /// None once it has ended, or if the caller is not traced.
    span: Option<Span>,
    trace: Option<Arc<TraceContext>>,
}

impl CallSpan {
    /// Begins beneath the current span. The check is sent to the replica at `endpoint`.
    pub(crate) fn begin(method: Method, check: &Check, endpoint: &str) -> Self {
        let above = Span::current().context();
        let above = above.span().span_context().clone();
        if !above.is_sampled() {
            // To a limiter, no context and one that is not sampled differ on single calls alone.
            let is_told = method == Method::Peek;
            let trace = is_told.then(|| context_of(&above)).flatten();
            return Self {
                span: None,
                trace: trace.map(Arc::new).or_else(|| check.trace.clone()),
            };
        }
        let span = match method {
            Method::Peek => info_span!("toolgate.v1.LimiterService/Peek", otel.kind = "client"),
            Method::CheckStream => {
                info_span!(
                    "toolgate.v1.LimiterService/CheckStream",
                    otel.kind = "client"
                )
            }
        };
        span.set_attribute("rpc.system.name", "grpc");
        span.set_attribute("rpc.method", method.as_str());
        let (address, port) = server_of(endpoint);
        span.set_attribute("server.address", address.to_owned());
        if let Some(port) = port {
            span.set_attribute("server.port", i64::from(port));
        }
        // Where nobody takes spans of this crate, what comes next stands beneath the caller's.
        let trace = context_in(&span.context()).or_else(|| context_of(&above));
        Self {
            span: Some(span),
            trace: trace.map(Arc::new),
        }
    }

    /// The context of what the limiter does for it.
    pub(crate) fn trace(&self) -> Option<Arc<TraceContext>> {
        self.trace.clone()
    }

    /// Ends it with what came of the call.
    pub(crate) fn end(mut self, result: &Result<Answer, LimiterError>) {
        let Some(span) = self.span.take() else { return };
        match result {
            Ok(answer) => {
                span.set_attribute(words::DECISION, words::decision(answer));
                span.set_attribute(words::DEGRADED, answer.degraded);
                span.set_attribute("rpc.response.status_code", words::status_code(0));
            }
            Err(error) => fail(&span, status_code(error)),
        }
    }
}

impl Drop for CallSpan {
    fn drop(&mut self) {
        if let Some(span) = self.span.take() {
            fail(&span, "CANCELLED".into());
        }
    }
}

/// The text of an error stays out: it may name what was asked for.
fn fail(span: &Span, code: Cow<'static, str>) {
    span.set_attribute("rpc.response.status_code", code.clone());
    span.set_attribute("error.type", code);
    span.set_status(Status::error(""));
}

fn context_in(context: &Context) -> Option<TraceContext> {
    context_of(context.span().span_context())
}

/// Where a replica is: `http://host:port`, or `unix:///path`.
fn server_of(endpoint: &str) -> (&str, Option<u16>) {
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("", endpoint));
    let port = rest.rsplit_once(':').filter(|_| scheme != "unix");
    match port.and_then(|(host, port)| Some((host, port.parse().ok()?))) {
        Some((host, port)) => (host.trim_matches(['[', ']']), Some(port)),
        None => (rest, None),
    }
}

/// The status of a call that has failed, as the limiter has named it or this side does.
fn status_code(error: &LimiterError) -> Cow<'static, str> {
    match error {
        LimiterError::Failed { code, .. } | LimiterError::Rejected { code, .. } => {
            let mut name = String::new();
            for letter in code.chars() {
                if letter.is_ascii_uppercase() && !name.is_empty() {
                    name.push('_');
                }
                name.push(letter.to_ascii_uppercase());
            }
            name.into()
        }
        LimiterError::Timeout { .. } => "DEADLINE_EXCEEDED".into(),
        LimiterError::Overloaded { .. } => "RESOURCE_EXHAUSTED".into(),
        LimiterError::Malformed(_) => "INTERNAL".into(),
        LimiterError::Unreachable { .. }
        | LimiterError::BreakerOpen { .. }
        | LimiterError::ConnectionLost { .. } => "UNAVAILABLE".into(),
        _ => "UNKNOWN".into(),
    }
}

#[cfg(test)]
mod tests;
