//! One export of metrics, over either protocol.

use std::io::{self, Write as _};

use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, header};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_client::MetricsServiceClient,
    },
    metrics::v1::ResourceMetrics,
};
use prost::Message as _;
use tonic::{
    Extensions, Request, Status, codec::CompressionEncoding, metadata::MetadataMap,
    transport::Channel,
};

use crate::otlp::{
    Destination, Protocol,
    transport::{self, TransportError},
};

/// The most bytes of a collector's answer that are looked at.
const MOST_OF_ANSWER: usize = 64 * 1_024;

/// Sends to one collector.
#[derive(Debug)]
pub(super) enum Client {
    Grpc {
        client: MetricsServiceClient<Channel>,
        headers: HeaderMap,
    },
    Http {
        client: reqwest::Client,
        url: String,
        headers: HeaderMap,
        is_gzip: bool,
    },
}

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("the collector answers {:?}", .0.code())]
    Grpc(#[source] Status),
    #[error("over HTTP")]
    Http(#[source] reqwest::Error),
    #[error("the collector answers {0}")]
    Status(reqwest::StatusCode),
    #[error("the collector has rejected {points} data points: {reason}")]
    Partly { points: i64, reason: String },
    #[error("the export cannot be compressed")]
    Compress(#[from] io::Error),
}

/// Without the URL, whose query may hold a secret.
impl From<reqwest::Error> for SendError {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

impl Client {
    /// A connection is opened with the first export, on the runtime on which this is called.
    pub(super) fn new(to: &Destination) -> Result<Self, TransportError> {
        let headers = to.headers.clone();
        Ok(match to.protocol {
            Protocol::Grpc => {
                let mut client = MetricsServiceClient::new(transport::grpc(to)?);
                if to.is_gzip {
                    client = client.send_compressed(CompressionEncoding::Gzip);
                }
                Self::Grpc { client, headers }
            }
            Protocol::HttpProtobuf => {
                let mut headers = headers;
                let media_type = HeaderValue::from_static("application/x-protobuf");
                headers.insert(header::CONTENT_TYPE, media_type);
                if to.is_gzip {
                    let gzip = HeaderValue::from_static("gzip");
                    headers.insert(header::CONTENT_ENCODING, gzip);
                }
                Self::Http {
                    client: transport::http(to)?,
                    url: to.endpoint.to_string(),
                    headers,
                    is_gzip: to.is_gzip,
                }
            }
        })
    }

    pub(super) async fn send(&self, metrics: ResourceMetrics) -> Result<(), SendError> {
        let export = ExportMetricsServiceRequest {
            resource_metrics: vec![metrics],
        };
        let answer = match self {
            Self::Grpc { client, headers } => {
                let metadata = MetadataMap::from_headers(headers.clone());
                let request = Request::from_parts(metadata, Extensions::default(), export);
                let answer = client.clone().export(request).await;
                answer.map_err(SendError::Grpc)?.into_inner()
            }
            Self::Http {
                client,
                url,
                headers,
                is_gzip,
            } => {
                let mut body = export.encode_to_vec();
                if *is_gzip {
                    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                    encoder.write_all(&body)?;
                    body = encoder.finish()?;
                }
                let request = client.post(url).headers(headers.clone()).body(body);
                answer(request.send().await?).await?
            }
        };
        match answer.partial_success {
            Some(partly) if partly.rejected_data_points > 0 => Err(SendError::Partly {
                points: partly.rejected_data_points,
                reason: partly.error_message,
            }),
            _ => Ok(()),
        }
    }
}

/// An answer that cannot be read says nothing; its status does.
async fn answer(
    mut response: reqwest::Response,
) -> Result<ExportMetricsServiceResponse, SendError> {
    if !response.status().is_success() {
        return Err(SendError::Status(response.status()));
    }
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await? {
        if body.len() + part.len() > MOST_OF_ANSWER {
            return Ok(ExportMetricsServiceResponse::default());
        }
        body.extend_from_slice(&part);
    }
    Ok(ExportMetricsServiceResponse::decode(&*body).unwrap_or_default())
}
