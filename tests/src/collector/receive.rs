//! The two protocols.

use std::io::Read as _;

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response as HttpResponse},
    routing::post,
};
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::{
    metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::MetricsService,
    },
    trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse, trace_service_server::TraceService,
    },
};
use prost::Message;
use tonic::{Request, Response, Status};

use super::Shared;

#[tonic::async_trait]
impl TraceService for Shared {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (metadata, _, export) = request.into_parts();
        self.take_spans(metadata.into_headers(), export).await?;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Shared {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let (metadata, _, export) = request.into_parts();
        self.take_metrics(metadata.into_headers(), export).await?;
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// OTLP over HTTP.
pub(super) fn http(shared: Shared) -> Router {
    Router::new()
        .route("/v1/traces", post(traces))
        .route("/v1/metrics", post(metrics))
        .with_state(shared)
}

async fn traces(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> HttpResponse {
    let export = decode(&headers, &body);
    let taken = shared.take_spans(headers, export).await;
    answer(&taken, &ExportTraceServiceResponse::default())
}

async fn metrics(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> HttpResponse {
    let export = decode(&headers, &body);
    let taken = shared.take_metrics(headers, export).await;
    answer(&taken, &ExportMetricsServiceResponse::default())
}

fn decode<M: Message + Default>(headers: &HeaderMap, body: &[u8]) -> M {
    let media_type = headers.get(header::CONTENT_TYPE);
    assert_eq!(media_type.expect("a type"), "application/x-protobuf");
    let is_gzip = headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|it| it == "gzip");
    let mut plain = body.to_vec();
    if is_gzip {
        plain.clear();
        GzDecoder::new(body).read_to_end(&mut plain).expect("gzip");
    }
    M::decode(&*plain).expect("an export")
}

fn answer(taken: &Result<(), Status>, reply: &impl Message) -> HttpResponse {
    match taken {
        Ok(()) => {
            let media_type = [(header::CONTENT_TYPE, "application/x-protobuf")];
            (media_type, reply.encode_to_vec()).into_response()
        }
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
