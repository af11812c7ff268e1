//! The edge: MCP over streamable HTTP, stateless, so that any replica answers any request.
//!
//! ```text
//! POST /mcp -> who calls?   401, or the identity
//!           -> batch?       each element as a request of its own
//!           -> id           put back into the answer as it came
//!           -> rmcp         protocol versions, headers, JSON-RPC
//!           -> handler      -> Vmcp; errors become what `rejection` says
//! ```
//!
//! No session is opened and nothing is sent that was not asked for: a client that wants to know
//! whether a list has changed lists again.

use std::{fmt, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::StatusCode,
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
    rejection::Rejection,
};

mod batch;
mod caller;
mod handler;
mod id;
mod mcp;
mod message;
mod metrics;
mod outcome;
mod refusal;
mod resource;

use handler::Handler;
use metrics::Metrics;

/// The largest body of a request, in bytes.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

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
    /// The `Host` headers that are served, against DNS rebinding; none for any.
    pub allowed_hosts: Option<Vec<String>>,
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
    ready: watch::Receiver<bool>,
    metrics: Metrics,
}

/// The routes `/mcp`, `/.well-known/oauth-protected-resource`, `/livez`, `/readyz` and `/metrics`.
pub fn router(mut edge: Edge) -> Router {
    let handler = Handler::new(&edge.name, edge.vmcp, edge.rejection);
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        // The status of a denial is known only once its body is.
        .with_json_response(true)
        .with_max_request_body_bytes(MAX_BODY_BYTES);
    let config = match edge.allowed_hosts {
        Some(hosts) => config.with_allowed_hosts(hosts),
        None => config.disable_allowed_hosts(),
    };
    let sessions = Arc::new(NeverSessionManager::default());
    let shared = Shared {
        mcp: StreamableHttpService::new(move || Ok(handler.clone()), sessions, config),
        authenticator: edge.authenticator,
        rejection: edge.rejection,
        ready: edge.ready,
        metrics: Metrics::register(&mut edge.registry),
    };
    Router::new()
        .route("/mcp", any(mcp::serve))
        .route(ProtectedResource::WELL_KNOWN, get(resource::serve))
        .route(resource::BELOW, get(resource::serve))
        .route("/livez", get(StatusCode::OK))
        .route("/readyz", get(readyz))
        .with_state(shared)
        .merge(toolgate_telemetry::router(edge.registry))
}

async fn readyz(State(shared): State<Shared>) -> StatusCode {
    if *shared.ready.borrow() {
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
