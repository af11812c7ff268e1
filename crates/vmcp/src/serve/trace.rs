//! Where a request belongs in a trace, and what its span says of it.
//!
//! The caller's context stands in the request's `_meta`, as MCP has it (SEP-414), or else in the
//! headers of HTTP. Where both name a span, that of the headers is linked: it is of the transport,
//! which may carry many requests.

use axum::http::{HeaderMap, Version, request::Parts};
use opentelemetry::{KeyValue, trace::TraceContextExt as _};
use rmcp::{
    RoleServer,
    model::{ProtocolVersion, RequestMetaObject},
    service::RequestContext,
};
use toolgate_limit::{OperationKind, TraceContext};
use toolgate_trace::parent;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::caller::Caller;
use crate::span;

/// The longest id of a request that its span shows, in bytes.
const LONGEST_ID: usize = 64;

/// What is asked for by name.
pub(super) type Target<'a> = Option<(OperationKind, &'a str)>;

/// The span of a request of `caller`, beneath its own.
pub(super) fn begin(
    method: &'static str,
    target: Target<'_>,
    caller: &Caller,
    context: &RequestContext<RoleServer>,
) -> Span {
    let span = span::of_request(method);
    let http = context.extensions.get::<Parts>();
    let of_headers = http.and_then(|parts| in_headers(&parts.headers));
    let of_meta = in_meta(&context.meta);
    if let (Some(_), Some(transport)) = (&of_meta, &of_headers) {
        span.add_link(parent(transport).span().span_context().clone());
    }
    if let Some(above) = of_meta.or(of_headers) {
        // An error means that nobody takes spans here.
        let _ = span.set_parent(parent(&above));
    }
    let open = span.context();
    let open = open.span();
    if !open.is_recording() {
        return span;
    }
    open.update_name(method);
    open.set_attribute(KeyValue::new("network.transport", "tcp"));
    open.set_attribute(KeyValue::new("network.protocol.name", "http"));
    if let Some(version) = http.and_then(|parts| http_version(parts.version)) {
        open.set_attribute(KeyValue::new("network.protocol.version", version));
    }
    let version = context.protocol_version();
    if let Some(version) = version.filter(|it| ProtocolVersion::KNOWN_VERSIONS.contains(it)) {
        open.set_attribute(KeyValue::new("mcp.protocol.version", version.to_string()));
    }
    let id = caller
        .odd_id()
        .map_or_else(|| context.id.to_string(), str::to_owned);
    if id.len() <= LONGEST_ID {
        open.set_attribute(KeyValue::new("jsonrpc.request.id", id));
    }
    if let Some((kind, name)) = target {
        open.set_attributes(span::target(kind, name));
    }
    span
}

fn in_meta(meta: &RequestMetaObject) -> Option<TraceContext> {
    let context: TraceContext = meta.0.get_traceparent()?.parse().ok()?;
    Some(context.with_state(meta.0.get_tracestate().unwrap_or_default()))
}

/// Of more than one `traceparent` none is right; the parts of `tracestate` are one list.
fn in_headers(headers: &HeaderMap) -> Option<TraceContext> {
    let mut parents = headers.get_all("traceparent").iter();
    let only = parents.next().filter(|_| parents.next().is_none())?;
    let context: TraceContext = only.to_str().ok()?.parse().ok()?;
    let states = headers.get_all("tracestate").iter();
    let states: Option<Vec<_>> = states.map(|state| state.to_str().ok()).collect();
    Some(context.with_state(&states.unwrap_or_default().join(",")))
}

fn http_version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn headers_hold_one_context_or_none() {
        let read = |pairs| in_headers(&headers(pairs));
        let one = read(&[
            ("traceparent", HEADER),
            ("tracestate", "a=1"),
            ("tracestate", "b=2"),
        ]);
        let one = one.unwrap();
        assert_eq!((one.to_string().as_str(), &*one.state), (HEADER, "a=1,b=2"));
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[("tracestate", "a=1")]), None);
        assert_eq!(read(&[("traceparent", "00-1-2-01")]), None);
        assert_eq!(
            read(&[("traceparent", HEADER), ("traceparent", HEADER)]),
            None
        );
    }

    #[test]
    fn what_is_no_context_in_meta_counts_as_none() {
        let read = |meta: Value| in_meta(&serde_json::from_value(meta).unwrap());
        let state = "a=1";
        let given = read(json!({"traceparent": HEADER, "tracestate": state})).unwrap();
        assert_eq!((given.to_string().as_str(), &*given.state), (HEADER, state));
        for wrong in [
            json!({}),
            json!({"traceparent": 7}),
            json!({"traceparent": "x"}),
        ] {
            assert_eq!(read(wrong), None);
        }
        let long = read(json!({"traceparent": HEADER, "tracestate": "a".repeat(600)}));
        assert_eq!(&*long.unwrap().state, "");
    }
}
