//! Spans of checks, for callers that are traced.
//!
//! A check takes some microseconds and most are not traced, so for those nothing is made: on a stream,
//! where no caller with a sampled span asks; on single calls, which are for people and rare, where the
//! sampler says so. And for nobody where this process exports no spans.
//!
//! A span is begun before the limiter is asked and takes the place of the caller's in
//! [`Check::trace`], so that what the store does stands beneath it.

use std::sync::Arc;

use opentelemetry::{
    Context, KeyValue,
    global::{BoxedSpan, BoxedTracer},
    trace::{Span as _, SpanBuilder, SpanKind, Status as SpanStatus, Tracer as _},
};
use tonic::{Code, Status, metadata::MetadataMap};
use toolgate_limit::{Answer, Check, StoreError, TraceContext};
use toolgate_trace::{context_of, parent, tracer, words};

use super::status;

/// A call of `LimiterService`, by its full name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Check,
    Peek,
    CheckStream,
}

impl Method {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Check => "toolgate.v1.LimiterService/Check",
            Self::Peek => "toolgate.v1.LimiterService/Peek",
            Self::CheckStream => "toolgate.v1.LimiterService/CheckStream",
        }
    }
}

/// Begins spans.
#[derive(Debug)]
pub(super) struct Tracing(Option<BoxedTracer>);

impl Tracing {
    /// With the provider that this process has by now.
    pub(super) fn of_process() -> Self {
        Self(tracer("toolgate-server"))
    }

    /// The span of a single call, beneath the one in its metadata.
    pub(super) fn of_call(&self, method: Method, metadata: &MetadataMap) -> Option<CheckSpan> {
        let tracer = self.0.as_ref()?;
        let above = context_in(metadata);
        let above = above.map_or_else(Context::new, |context| parent(&context));
        begin(tracer, method, &above)
    }

    /// The spans of those of `checks` that are traced, by their places.
    pub(super) fn of_stream(&self, checks: &mut [Check]) -> Vec<(usize, CheckSpan)> {
        let mut spans = Vec::new();
        let Some(tracer) = &self.0 else {
            return spans;
        };
        for (place, check) in checks.iter_mut().enumerate() {
            let Some(above) = &check.trace else { continue };
            if let Some(mut span) = begin(tracer, Method::CheckStream, &parent(above)) {
                span.of(check);
                spans.push((place, span));
            }
        }
        spans
    }
}

/// The caller's span, as the metadata of a single call say.
pub(super) fn context_in(metadata: &MetadataMap) -> Option<TraceContext> {
    let text = |name| metadata.get(name)?.to_str().ok();
    let context: TraceContext = text("traceparent")?.parse().ok()?;
    Some(context.with_state(text("tracestate").unwrap_or_default()))
}

/// A span beneath `above`; none if the sampler wants none.
fn begin(tracer: &BoxedTracer, method: Method, above: &Context) -> Option<CheckSpan> {
    let builder = SpanBuilder::from_name(method.as_str())
        .with_kind(SpanKind::Server)
        .with_attributes([
            KeyValue::new("rpc.system.name", "grpc"),
            KeyValue::new("rpc.method", method.as_str()),
        ]);
    let span = tracer.build_with_context(builder, above);
    span.is_recording().then_some(CheckSpan {
        span,
        is_over: false,
    })
}

/// The span of one check. Dropped, it says that nobody has waited for the end.
#[derive(Debug)]
pub(super) struct CheckSpan {
    span: BoxedSpan,
    is_over: bool,
}

impl CheckSpan {
    /// It is the span of `check`, which goes on beneath it.
    pub(super) fn of(&mut self, check: &mut Check) {
        check.trace = context_of(self.span.span_context()).map(Arc::new);
        let server = check.server.to_string();
        self.span
            .set_attribute(KeyValue::new(words::SERVER, server));
    }

    /// Ends it with what the limiter says.
    pub(super) fn decided(self, answer: &Result<Answer, StoreError>) {
        match answer {
            Ok(answer) => self.answered(answer),
            Err(error) => self.failed(&status::undecided(&error.clone().into())),
        }
    }

    /// Ends it with a decision.
    pub(super) fn answered(mut self, answer: &Answer) {
        let span = &mut self.span;
        span.set_attribute(KeyValue::new(words::DECISION, words::decision(answer)));
        span.set_attribute(KeyValue::new(words::DEGRADED, answer.degraded));
        if let Some(denial) = answer.denial() {
            let rejected_by = words::rejected_by(&denial.limit);
            span.set_attribute(KeyValue::new(words::REJECTED_BY, rejected_by));
            if let Some(wait) = denial.retry_after {
                let wait = words::retry_after_ms(wait);
                span.set_attribute(KeyValue::new(words::RETRY_AFTER_MS, wait));
            }
        }
        self.end(Code::Ok);
    }

    /// Ends it with an error, whose text stays out: it may name what a caller has sent.
    pub(super) fn failed(mut self, status: &Status) {
        self.end(status.code());
    }

    fn end(&mut self, code: Code) {
        let name = words::status_code(code.into());
        let span = &mut self.span;
        span.set_attribute(KeyValue::new("rpc.response.status_code", name));
        if is_error_of_server(code) {
            span.set_attribute(KeyValue::new("error.type", name));
            span.set_status(SpanStatus::error(""));
        }
        span.end();
        self.is_over = true;
    }
}

impl Drop for CheckSpan {
    fn drop(&mut self) {
        if !self.is_over {
            self.end(Code::Cancelled);
        }
    }
}

/// Ends the span of a single call, if it has one.
pub(super) fn end(span: Option<CheckSpan>, answer: &Result<Answer, Status>) {
    let Some(span) = span else { return };
    match answer {
        Ok(answer) => span.answered(answer),
        Err(status) => span.failed(status),
    }
}

/// The codes that are the server's fault, by the semantic conventions for gRPC.
const fn is_error_of_server(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

#[cfg(test)]
mod tests;
