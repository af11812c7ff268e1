//! A registry, its text, and the route that serves it.

use std::{fmt, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{metrics::info::Info, registry::Registry};

/// The media type of an exposition, by the `OpenMetrics` specification, section "Overall structure".
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A registry that says which version of `binary` runs: `{binary}_build_info{version="..."} 1`.
pub fn registry(binary: &'static str, version: &'static str) -> Registry {
    let mut registry = Registry::default();
    registry.register(
        format!("{binary}_build"),
        "The version that runs",
        Info::new([("version", version)]),
    );
    registry
}

/// All that is registered, as text. It fails only if a collector does.
pub fn exposition(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry)?;
    Ok(text)
}

/// The route `/metrics`.
///
/// It answers in `OpenMetrics` whatever is asked for, as Prometheus has read it since 2.5.
pub fn router(registry: Registry) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(Arc::new(registry))
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    match exposition(&registry) {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be shown");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::Request,
    };
    use prometheus_client::{
        collector::Collector, encoding::DescriptorEncoder, metrics::histogram::Histogram,
        registry::Unit,
    };

    use super::*;

    async fn scrape(registry: Registry) -> (StatusCode, Option<String>, String) {
        let request = Request::get("/metrics").body(Body::empty()).unwrap();
        let response = tower_service::Service::call(&mut router(registry), request);
        let (parts, body) = response.await.unwrap().into_parts();
        let content_type = parts.headers.get(header::CONTENT_TYPE);
        let content_type = content_type.map(|value| value.to_str().unwrap().to_owned());
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        (parts.status, content_type, body)
    }

    #[tokio::test]
    async fn a_scrape_is_openmetrics_with_units_and_an_end() {
        let mut registry = registry("vmcp", "1.2.3");
        let wait = Histogram::new([0.5]);
        wait.observe(0.25);
        registry.register_with_unit("wait", "How long it took", Unit::Seconds, wait);
        let (status, content_type, body) = scrape(registry).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(content_type.as_deref(), Some(CONTENT_TYPE));
        assert_eq!(
            body,
            "# HELP vmcp_build The version that runs.\n\
             # TYPE vmcp_build info\n\
             vmcp_build_info{version=\"1.2.3\"} 1\n\
             # HELP wait_seconds How long it took.\n\
             # TYPE wait_seconds histogram\n\
             # UNIT wait_seconds seconds\n\
             wait_seconds_sum 0.25\n\
             wait_seconds_count 1\n\
             wait_seconds_bucket{le=\"0.5\"} 1\n\
             wait_seconds_bucket{le=\"+Inf\"} 1\n\
             # EOF\n"
        );
    }

    #[derive(Debug)]
    struct Broken;

    impl Collector for Broken {
        fn encode(&self, _: DescriptorEncoder<'_>) -> fmt::Result {
            Err(fmt::Error)
        }
    }

    #[tokio::test]
    async fn a_scrape_that_fails_is_no_empty_success() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Broken));
        let (status, _, body) = scrape(registry).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(body, "");
    }
}
