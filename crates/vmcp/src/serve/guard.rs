//! What keeps pages of other sites out: `Host`, `Origin` and CORS.
//!
//! A page in the browser of somebody who can reach this server can make it send requests. By MCP a
//! server refuses those with an `Origin` that it does not know. `Host` is checked too, against pages
//! whose own name was made to lead here (DNS rebinding).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode, Uri,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
            ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
            ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN,
            RETRY_AFTER, VARY,
        },
        uri::Authority,
    },
    middleware::Next,
    response::{IntoResponse, Response},
};

use toolgate_net::{Host, http::Connection};

use super::{
    message,
    metrics::Metrics,
    site::{AllowedHost, WebOrigin, authority, own_port},
};
use crate::rejection;

/// Which requests come from where they may.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) hosts: Vec<AllowedHost>,
    pub(super) origins: Vec<WebOrigin>,
    pub(super) metrics: Metrics,
    /// What the log has, so that strangers do not fill it.
    pub(super) told: Told,
}

/// Whom probes and metrics are for.
#[derive(Debug)]
pub(super) struct AdminGuard {
    pub(super) hosts: Vec<AllowedHost>,
    pub(super) metrics: Metrics,
}

/// Whether there was a refusal of each kind that a setting could be the cause of.
#[derive(Debug, Default)]
pub(super) struct Told {
    host: AtomicBool,
    origin: AtomicBool,
}

/// Why a request was refused before anybody asked who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// RFC 9112, section 3.2.
    Malformed(&'static str),
    Host,
    Origin,
}

/// What scripts may read of an answer, beside its body.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "mcp-protocol-version, mcp-session-id, retry-after, www-authenticate, x-request-id",
);
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE");
const TEN_MINUTES: HeaderValue = HeaderValue::from_static("600");

/// Lets `request` through if it comes from where it may, and answers the question of a browser
/// whether it may send one. No token comes with that question.
pub(super) async fn check(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let connection = request.extensions().get::<Connection>();
    if connection.is_some_and(Connection::is_spare) {
        guard.metrics.refused("busy");
        let busy = "all connections are being answered";
        let error = rejection::invalid_request(None, busy);
        let response = message::json(StatusCode::SERVICE_UNAVAILABLE, error);
        return ([(RETRY_AFTER, "1")], response).into_response();
    }
    let headers = request.headers();
    let origin = match guard.admit(request.uri(), headers) {
        Ok(origin) => origin,
        Err(refused) => return guard.refuse(refused),
    };
    let asks =
        request.method() == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match &origin {
        Some(_) if asks => may_send(headers.get(ACCESS_CONTROL_REQUEST_HEADERS)),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    if !guard.origins.is_empty() {
        headers.append(VARY, HeaderValue::from_static("origin"));
    }
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
    response
}

/// Lets `request` for a probe or for metrics through, unless it is for a name that this server does not
/// have: a page whose own name was made to lead here sends no `Origin` with what it only reads. Kubelets
/// and scrapers use addresses, and the oldest send no `Host`.
pub(super) async fn check_admin(
    State(guard): State<Arc<AdminGuard>>,
    request: Request,
    next: Next,
) -> Response {
    let AdminGuard { hosts, metrics } = guard.as_ref();
    let is_known = match called(request.uri(), request.headers()) {
        Ok(called) => {
            Host::of(called.host()).is_address() || hosts.iter().any(|host| host.is(&called))
        }
        Err(_) => !request.headers().contains_key(HOST),
    };
    if is_known || hosts.contains(&AllowedHost::Any) {
        return next.run(request).await;
    }
    metrics.refused("host");
    (StatusCode::FORBIDDEN, "Host is not allowed\n").into_response()
}

/// Any header may be sent, as tools may ask for headers of their own (`Mcp-Param-…`).
fn may_send(asked: Option<&HeaderValue>) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, TEN_MINUTES);
    if let Some(asked) = asked {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    response
}

impl Guard {
    /// The origin of the page that has sent it, if it was a page.
    fn admit(&self, target: &Uri, headers: &HeaderMap) -> Result<Option<HeaderValue>, Refused> {
        let called = called(target, headers)?;
        if !self.hosts.iter().any(|host| host.is(&called)) {
            return Err(Refused::Host);
        }
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return Ok(None);
        };
        let is_one = origins.next().is_none();
        let parsed = origin.to_str().ok().and_then(|text| text.parse().ok());
        let is_known = parsed.is_some_and(|origin| self.origins.contains(&origin));
        if is_one && is_known {
            Ok(Some(origin.clone()))
        } else {
            Err(Refused::Origin)
        }
    }

    fn refuse(&self, refused: Refused) -> Response {
        let (status, reason, message) = match refused {
            Refused::Malformed(what) => (StatusCode::BAD_REQUEST, "malformed_host", what),
            Refused::Host => (StatusCode::FORBIDDEN, "host", "Host is not allowed"),
            Refused::Origin => (StatusCode::FORBIDDEN, "origin", "Origin is not allowed"),
        };
        self.metrics.refused(reason);
        let first = |told: &AtomicBool| !told.swap(true, Ordering::Relaxed);
        let setting = match refused {
            Refused::Malformed(_) => None,
            Refused::Host => first(&self.told.host).then_some("allowedHosts"),
            Refused::Origin => first(&self.told.origin).then_some("allowedOrigins"),
        };
        if let Some(setting) = setting {
            tracing::warn!(
                setting,
                "a request was refused: {message}; more are counted in vmcp_unauthorized_total"
            );
        }
        message::json(status, rejection::invalid_request(None, message))
    }
}

/// The host that a request is for, by its target and by `Host`.
fn called(target: &Uri, headers: &HeaderMap) -> Result<Authority, Refused> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(Refused::Malformed("more than one Host header")),
        (None, None) => None,
        (Some(host), None) => {
            let host = host.to_str().ok().and_then(authority);
            Some(host.ok_or(Refused::Malformed("Host names no host"))?)
        }
    };
    match (target.authority(), host) {
        (None, None) => Err(Refused::Malformed("no Host header")),
        (None, Some(host)) => Ok(host),
        (Some(target), None) => Ok(target.clone()),
        (Some(named), Some(host)) => {
            let own = own_port(target.scheme_str().unwrap_or("http"));
            let port = |of: &Authority| of.port_u16().or(own);
            let is_same =
                Host::of(named.host()) == Host::of(host.host()) && port(named) == port(&host);
            let other = Refused::Malformed("the request's target has another host than Host");
            is_same.then_some(host).ok_or(other)
        }
    }
}
