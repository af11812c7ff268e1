//! A registry, its text, and the route that serves it.

use std::{fmt, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{
    encoding::{
        prometheus_protobuf::{self, prometheus_data_model::MetricFamily},
        text::{encode_eof, encode_registry},
    },
    metrics::info::Info,
    registry::Registry,
};

use tokio::sync::Semaphore;

use crate::{Distribution, Latest};

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

/// All that a process shows: a registry, and histograms that are put together at each scrape.
///
/// Clones show the same.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    histograms: Vec<Histogram>,
}

#[derive(Clone)]
struct Histogram {
    name: &'static str,
    help: &'static str,
    read: Arc<dyn Fn() -> Distribution + Send + Sync>,
}

impl Metrics {
    /// Those of `registry`.
    pub fn new(registry: Registry) -> Self {
        Self {
            registry: Arc::new(registry),
            histograms: Vec::new(),
        }
    }

    /// Adds what `read` returns at each scrape. The unit is added to `name`, and a full stop to
    /// `help`.
    pub fn histogram_in_seconds(
        &mut self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Distribution + Send + Sync + 'static,
    ) {
        let read = Arc::new(read);
        self.histograms.push(Histogram { name, help, read });
    }

    /// All of them as text. It fails only if a collector does.
    pub fn exposition(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        for histogram in &self.histograms {
            (histogram.read)().write(histogram.name, histogram.help, &mut text)?;
        }
        encode_eof(&mut text)?;
        Ok(text)
    }

    /// All of them, as values. It fails only if a collector does.
    pub(crate) fn families(&self) -> Result<Vec<MetricFamily>, fmt::Error> {
        let mut families = prometheus_protobuf::encode(&self.registry)?;
        let histograms = self.histograms.iter();
        families.extend(histograms.map(|it| (it.read)().family(it.name, it.help)));
        Ok(families)
    }
}

impl From<Registry> for Metrics {
    fn from(registry: Registry) -> Self {
        Self::new(registry)
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Histogram").field(&self.name).finish()
    }
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
pub fn router(metrics: impl Into<Metrics>) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .with_state(Exposed {
            metrics: metrics.into(),
            text: Latest::default(),
            places: Arc::new(Semaphore::new(SCRAPES)),
        })
}

/// The most scrapes at a time. More are refused at once, so that they hold up no probe.
const SCRAPES: usize = 16;

/// What is scraped. One text at a time is made, for all who came before it was begun.
#[derive(Clone)]
struct Exposed {
    metrics: Metrics,
    text: Latest<Result<Bytes, fmt::Error>>,
    places: Arc<Semaphore>,
}

async fn scrape(State(exposed): State<Exposed>) -> Response {
    let Ok(_place) = Arc::clone(&exposed.places).try_acquire_owned() else {
        let retry = [(header::RETRY_AFTER, "1")];
        let busy = "as many scrapes as may be are under way\n";
        return (StatusCode::SERVICE_UNAVAILABLE, retry, busy).into_response();
    };
    match exposed.text().await {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be shown");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

impl Exposed {
    /// The text of this moment or later, made on a thread of its own: that of many series takes
    /// milliseconds, and the runtime that serves HTTP may have more urgent things to do.
    async fn text(self) -> Result<Bytes, fmt::Error> {
        let metrics = self.metrics;
        let text = self
            .text
            .make(move || metrics.exposition().map(Bytes::from));
        text.await.map_or(Err(fmt::Error), |text| (*text).clone())
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::Request,
    };
    use prometheus_client::{
        collector::Collector, encoding::DescriptorEncoder, metrics, registry::Unit,
    };

    use super::*;

    async fn scrape(metrics: impl Into<Metrics>) -> (StatusCode, Option<String>, String) {
        let request = Request::get("/metrics").body(Body::empty()).unwrap();
        let response = tower_service::Service::call(&mut router(metrics), request);
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
        let wait = metrics::histogram::Histogram::new([0.5]);
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

    #[tokio::test]
    async fn histograms_of_many_writers_stand_before_the_end_as_they_are_at_each_scrape() {
        let mut metrics = Metrics::new(registry("toolgate", "1.2.3"));
        metrics.histogram_in_seconds("wait", "How long it took", || {
            let mut waits = Distribution::new(&[0.5]);
            waits.observe(0.25, 2, None);
            waits
        });
        let (_, _, body) = scrape(metrics).await;
        let (_, histogram) = body.split_once("toolgate_build_info").unwrap();
        assert_eq!(
            histogram,
            "{version=\"1.2.3\"} 1\n\
             # HELP wait_seconds How long it took.\n\
             # TYPE wait_seconds histogram\n\
             # UNIT wait_seconds seconds\n\
             wait_seconds_sum 0.5\n\
             wait_seconds_count 2\n\
             wait_seconds_bucket{le=\"0.5\"} 2\n\
             wait_seconds_bucket{le=\"+Inf\"} 2\n\
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

    /// Counts how often it is shown, which takes it a while.
    #[derive(Debug)]
    struct Slow(Arc<std::sync::atomic::AtomicUsize>);

    impl Collector for Slow {
        fn encode(&self, _: DescriptorEncoder<'_>) -> fmt::Result {
            std::thread::sleep(std::time::Duration::from_millis(100));
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Ok(())
        }
    }

    /// Each scrape made a text of its own, one after the other.
    #[tokio::test]
    async fn scrapes_that_wait_share_one_text_and_too_many_are_refused() {
        let shown = Arc::default();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Slow(Arc::clone(&shown))));
        let mut router = router(registry);
        let scrapes: Vec<_> = (0..SCRAPES + 5)
            .map(|_| {
                let request = Request::get("/metrics").body(Body::empty()).unwrap();
                tokio::spawn(tower_service::Service::call(&mut router, request))
            })
            .collect();
        let mut refused = 0;
        for scrape in scrapes {
            let status = scrape.await.unwrap().unwrap().status();
            refused += usize::from(status == StatusCode::SERVICE_UNAVAILABLE);
        }
        assert_eq!(refused, 5);
        // The first one, and one for all that came meanwhile.
        assert_eq!(shown.load(std::sync::atomic::Ordering::SeqCst), 2);
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
