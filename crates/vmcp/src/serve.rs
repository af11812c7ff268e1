//! The edge: MCP over streamable HTTP, stateless, so that any replica answers any request.
//!
//! ```text
//! POST /mcp -> from where?  403 for pages of other sites
//!           -> who calls?   401, or the identity
//!           -> batch?       each element as a request of its own
//!           -> id           put back into the answer as it came
//!           -> rmcp         protocol versions, headers, JSON-RPC
//!           -> handler      -> Vmcp; errors become what `rejection` says
//! ```
//!
//! No session is opened and nothing is sent that was not asked for: a client that wants to know
//! whether a list has changed lists again.

use std::{fmt, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    middleware,
    routing::{any, get},
};
use prometheus_client::registry::Registry;
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
};
use tokio::sync::watch;

use crate::{
    Vmcp,
    auth::{Authenticator, ProtectedResource},
    json::MOST_GROWTH,
    rejection::Rejection,
};

mod accept;
mod batch;
mod caller;
mod guard;
mod handler;
mod id;
mod in_flight;
mod mcp;
mod message;
mod metrics;
mod outcome;
mod params;
mod refusal;
mod request_id;
mod resource;
mod site;
mod trace;

use guard::{AdminGuard, Guard};
use handler::Handler;
use in_flight::InFlight;
use metrics::Metrics;

pub use site::{AllowedHost, InvalidHost, InvalidOrigin, WebOrigin};

/// The largest body of a request, in bytes.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// How long the body of a request may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// What is served, to whom, and how.
#[derive(Debug)]
pub struct Edge {
    /// How the server calls itself.
    pub name: String,
    /// What is served.
    pub vmcp: Arc<dyn Vmcp>,
    /// Who may call.
    pub authenticator: Arc<dyn Authenticator>,
    /// How denials are shown.
    pub rejection: Rejection,
    /// The hosts that it may be called by, against DNS rebinding.
    pub allowed_hosts: Vec<AllowedHost>,
    /// The hosts that its probes and metrics may be asked for by, beside addresses.
    pub admin_hosts: Vec<AllowedHost>,
    /// The origins of pages that may call it. Requests of other pages are refused.
    pub allowed_origins: Vec<WebOrigin>,
    /// Whether `/readyz` says so.
    pub ready: watch::Receiver<bool>,
    /// What `/metrics` shows, beside what the edge itself counts.
    pub registry: Registry,
}

type McpService = StreamableHttpService<Handler, NeverSessionManager>;

/// What requests share.
#[derive(Clone)]
struct Shared {
    mcp: McpService,
    authenticator: Arc<dyn Authenticator>,
    rejection: Rejection,
    draining: watch::Receiver<bool>,
    metrics: Metrics,
    /// None where callers are not told apart.
    in_flight: Option<InFlight>,
}

/// What is served, by who asks for it.
#[derive(Debug)]
pub(crate) struct Routers {
    /// The routes `/mcp` and `/.well-known/oauth-protected-resource`, for callers.
    pub(crate) mcp: Router,
    /// The routes `/livez`, `/readyz` and `/metrics`, which ask nobody who they are.
    pub(crate) admin: Router,
    /// What `/metrics` shows.
    pub(crate) metrics: toolgate_telemetry::Metrics,
}

/// The routes `/mcp`, `/.well-known/oauth-protected-resource`, `/livez`, `/readyz` and `/metrics`.
pub fn router(edge: Edge) -> Router {
    let Routers { mcp, admin, .. } = routers(edge, watch::channel(false).1);
    mcp.merge(admin)
}

/// The routes of `edge`. Once it is draining, requests that have come in part are not waited for.
pub(crate) fn routers(mut edge: Edge, draining: watch::Receiver<bool>) -> Routers {
    let handler = Handler::new(&edge.name, edge.vmcp, edge.rejection);
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        // The status of a denial is known only once its body is.
        .with_json_response(true)
        .with_max_request_body_bytes(MOST_GROWTH * MAX_BODY_BYTES)
        // The guard has checked it, before it was asked who calls.
        .disable_allowed_hosts();
    let sessions = Arc::new(NeverSessionManager::default());
    let shared = Shared {
        mcp: StreamableHttpService::new(move || Ok(handler.clone()), sessions, config),
        in_flight: edge.authenticator.tells_apart().then(InFlight::default),
        authenticator: edge.authenticator,
        rejection: edge.rejection,
        draining,
        metrics: Metrics::register(&mut edge.registry),
    };
    let guard = Arc::new(Guard {
        hosts: edge.allowed_hosts,
        origins: edge.allowed_origins,
        metrics: shared.metrics.clone(),
        told: guard::Told::default(),
    });
    let admin_guard = Arc::new(AdminGuard {
        hosts: edge.admin_hosts,
        metrics: shared.metrics.clone(),
    });
    let mcp = Router::new()
        .route("/mcp", any(mcp::serve))
        .route(ProtectedResource::WELL_KNOWN, get(resource::serve))
        .route(resource::BELOW, get(resource::serve));
    let probes = Router::new()
        .route("/livez", get(StatusCode::OK))
        .route("/readyz", get(readyz));
    let metrics = toolgate_telemetry::Metrics::new(edge.registry);
    Routers {
        mcp: mcp
            .with_state(shared)
            .layer(middleware::from_fn_with_state(guard, guard::check))
            .layer(middleware::from_fn(request_id::mark)),
        admin: probes
            .with_state(edge.ready)
            .merge(toolgate_telemetry::router(metrics.clone()))
            .layer(middleware::from_fn_with_state(
                admin_guard,
                guard::check_admin,
            )),
        metrics,
    }
}

async fn readyz(State(ready): State<watch::Receiver<bool>>) -> StatusCode {
    if *ready.borrow() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
