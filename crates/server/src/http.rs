//! `/livez` and `/readyz`, for Kubernetes probes, and `/metrics`, for Prometheus.

use axum::{
    Router,
    extract::State,
    http::{HeaderValue, Response, StatusCode, header::CONNECTION},
    middleware::map_response,
    routing::get,
};
use tokio::sync::watch;
use toolgate_net::Acceptor;
use toolgate_telemetry::Metrics;

use crate::health::Readiness;

/// The most connections. Those that wait for their callers make room, so probes always find some.
pub(crate) const MOST: usize = 256;

/// Serves until dropped: probes want an answer to the end.
pub(crate) async fn serve(acceptor: Acceptor, router: Router) {
    let (_never, draining) = watch::channel(false);
    toolgate_net::http::serve(acceptor, router, MOST, draining).await;
}

/// `/livez` says that the process runs; `/readyz` whether calls are decided; if not,
/// or without the store, then why. `/metrics` is there if `metrics` are. A connection ends with its
/// answer: whoever asks for much at once, and reads none of it, would have all of it made.
pub(crate) fn router(readiness: watch::Receiver<Readiness>, metrics: Option<Metrics>) -> Router {
    let probes = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(readiness);
    let routes = match metrics {
        Some(metrics) => probes.merge(toolgate_telemetry::router(metrics)),
        None => probes,
    };
    routes.layer(map_response(closing))
}

async fn closing<B>(mut answer: Response<B>) -> Response<B> {
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(CONNECTION, close);
    answer
}

async fn ready(State(readiness): State<watch::Receiver<Readiness>>) -> (StatusCode, String) {
    match &*readiness.borrow() {
        Readiness::Ready => (StatusCode::OK, "ok\n".to_owned()),
        Readiness::Degraded(reason) | Readiness::Partly(reason) => {
            (StatusCode::OK, format!("degraded: {reason}\n"))
        }
        Readiness::NotReady(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}
