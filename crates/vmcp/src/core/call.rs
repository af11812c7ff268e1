//! One call of a backend, as its span tells it and as the backend is told of that.

use opentelemetry::{KeyValue, trace::TraceContextExt as _};
use reqwest::Url;
use rmcp::model::{
    CallToolResponse, CompleteResult, GetPromptResponse, ReadResourceResponse, RequestMetaObject,
};
use toolgate_limit::{OperationKind, TraceContext};
use toolgate_trace::context_of;
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{
    BackendSettings, Transport,
    failure::{Failure, Unusable},
};
use crate::span;

/// What a backend is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked<'a> {
    /// To run the tool of this name, which it has.
    Tool(&'a str),
    /// For the prompt of this name, which it has.
    Prompt(&'a str),
    /// To read a resource.
    Resource,
    /// To complete an argument.
    Completion,
}

impl<'a> Asked<'a> {
    const fn method(self) -> &'static str {
        match self {
            Self::Tool(_) => "tools/call",
            Self::Prompt(_) => "prompts/get",
            Self::Resource => "resources/read",
            Self::Completion => "completion/complete",
        }
    }

    const fn target(self) -> Option<(OperationKind, &'a str)> {
        match self {
            Self::Tool(name) => Some((OperationKind::Tool, name)),
            Self::Prompt(name) => Some((OperationKind::Prompt, name)),
            Self::Resource | Self::Completion => None,
        }
    }
}

/// An answer that may itself say that something has failed.
pub(super) trait Answer {
    /// Whether it is the result of a tool that has failed.
    fn is_tool_error(&self) -> bool {
        false
    }
}

impl Answer for CallToolResponse {
    fn is_tool_error(&self) -> bool {
        matches!(self, Self::Complete(result) if result.is_error == Some(true))
    }
}
impl Answer for GetPromptResponse {}
impl Answer for ReadResourceResponse {}
impl Answer for CompleteResult {}

/// What the spans of all calls of one backend say.
#[derive(Debug)]
pub(super) struct Destination(Vec<KeyValue>);

impl Destination {
    /// Where it is; of an address without what may be secret.
    pub(super) fn of(settings: &BackendSettings) -> Self {
        let mut attributes = vec![KeyValue::new("vmcp.backend", settings.name.to_string())];
        match &settings.transport {
            Transport::Command { .. } => {
                attributes.push(KeyValue::new("network.transport", "pipe"));
            }
            Transport::Http { url, .. } => {
                attributes.push(KeyValue::new("network.transport", "tcp"));
                attributes.push(KeyValue::new("network.protocol.name", "http"));
                let url = Url::parse(url).ok();
                if let Some(host) = url.as_ref().and_then(Url::host_str) {
                    attributes.push(KeyValue::new("server.address", host.to_owned()));
                }
                if let Some(port) = url.as_ref().and_then(Url::port_or_known_default) {
                    attributes.push(KeyValue::new("server.port", i64::from(port)));
                }
            }
        }
        Self(attributes)
    }
}

/// A call that is sent. Dropped before its end, it says that its caller has gone.
#[derive(Debug)]
pub(super) struct Call {
    /// None once it has ended, or if the caller is not traced.
    span: Option<Span>,
    trace: Option<TraceContext>,
}

impl Call {
    /// Begins beneath the current span, if that is traced.
    pub(super) fn begin(asked: Asked<'_>, to: &Destination) -> Self {
        let above = Span::current().context();
        let above = above.span().span_context().clone();
        if !above.is_sampled() {
            let trace = context_of(&above);
            return Self { span: None, trace };
        }
        let span = info_span!("backend", otel.kind = "client");
        let context = span.context();
        let open = context.span();
        let method = asked.method();
        open.set_attribute(KeyValue::new("mcp.method.name", method));
        match asked.target() {
            Some((kind, name)) => {
                open.update_name(format!("{method} {name}"));
                open.set_attributes(span::target(kind, name));
            }
            None => open.update_name(method),
        }
        open.set_attributes(to.0.iter().cloned());
        let trace = context_of(open.span_context()).or_else(|| context_of(&above));
        let span = Some(span);
        Self { span, trace }
    }

    /// `meta` with the place of the call in its trace. Where none is known here, the caller's word
    /// stays.
    pub(super) fn meta(&self, meta: Option<RequestMetaObject>) -> Option<RequestMetaObject> {
        let Some(trace) = &self.trace else {
            return meta;
        };
        let mut meta = meta.unwrap_or_default();
        meta.0.set_traceparent(trace.to_string());
        if trace.state.is_empty() {
            meta.0.0.remove("tracestate");
        } else {
            meta.0.set_tracestate(&*trace.state);
        }
        Some(meta)
    }

    /// Ends it with what came of it.
    pub(super) fn end<T: Answer>(mut self, answered: &Result<T, Failure>) {
        let Some(span) = self.span.take() else { return };
        match answered {
            Ok(answer) if answer.is_tool_error() => span::fail_as(&span, span::TOOL_ERROR),
            Ok(_) => {}
            Err(Failure::Refused(error)) => span::fail(&span, error.code.0),
            Err(failure) => span::fail_as(&span, error_type(failure)),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(span) = self.span.take() {
            span::fail_as(&span, "cancelled");
        }
    }
}

/// One of a few.
fn error_type(failure: &Failure) -> String {
    match failure {
        Failure::Refused(error) => error.code.0.to_string(),
        Failure::Late(_) => "timeout".to_owned(),
        Failure::Broken => "connection_lost".to_owned(),
        Failure::Unusable(Unusable::Status(status)) => status.to_string(),
        Failure::Unusable(Unusable::TooLarge(_)) => "too_large".to_owned(),
        Failure::Unusable(Unusable::Credentials) => "credentials".to_owned(),
        Failure::Unusable(Unusable::Nonsense) => "malformed".to_owned(),
    }
}

#[cfg(test)]
mod tests;
