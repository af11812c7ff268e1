//! Requests that are no gRPC calls.
//!
//! tonic looks at the path alone: it would read JSON and gRPC-Web as Protobuf, decide what it found
//! there, and charge for it. Such requests are refused by their headers, before anything is counted,
//! read or paid. The answers are those of grpc-go.

use http::{HeaderMap, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use tonic::{Code, Status, body::Body};
use toolgate_telemetry::RequestId;

use super::status;

/// The most bytes of headers of a call, as HTTP/2 counts them. Tokens and trace context fit.
pub(crate) const MAX_HEADER_BYTES: usize = 16 * 1024;

/// What HTTP/2 adds to each header, in bytes (RFC 9113, section 6.5.2).
const PER_HEADER: usize = 32;

/// Why a request is no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    Method,
    ContentType,
    Headers,
}

impl Malformed {
    /// Why `request` is no call, if it is none.
    pub(crate) fn of<B>(request: &Request<B>) -> Option<Self> {
        if request.method() != Method::POST {
            Some(Self::Method)
        } else if !is_protobuf(request.headers()) {
            Some(Self::ContentType)
        } else if header_bytes(request) > MAX_HEADER_BYTES {
            Some(Self::Headers)
        } else {
            None
        }
    }

    /// The code of the answer.
    pub(crate) const fn code(self) -> Code {
        match self {
            Self::Method | Self::ContentType => Code::InvalidArgument,
            Self::Headers => Code::ResourceExhausted,
        }
    }

    /// The answer to the request `id`.
    pub(crate) fn answer(self, id: &RequestId) -> Response<Body> {
        let (http, message) = match self {
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "a gRPC call is a POST"),
            Self::ContentType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the content-type of a call is application/grpc, with messages in Protobuf",
            ),
            Self::Headers => (
                StatusCode::OK,
                "the headers of a call may have 16384 bytes, with 32 for each of them",
            ),
        };
        let status = status::of_request(&Status::new(self.code(), message), id);
        let mut answer = status.into_http();
        *answer.status_mut() = http;
        answer
    }
}

/// Whether messages are Protobuf, as far as the headers say. `application/grpc` may have parameters.
fn is_protobuf(headers: &HeaderMap) -> bool {
    let Some(Ok(told)) = headers.get(CONTENT_TYPE).map(|told| told.to_str()) else {
        return false;
    };
    let essence = told.split(';').next().unwrap_or_default().trim_end();
    ["application/grpc", "application/grpc+proto"]
        .iter()
        .any(|known| essence.eq_ignore_ascii_case(known))
}

fn header_bytes<B>(request: &Request<B>) -> usize {
    let path = request.uri().path_and_query();
    let path = path.map_or(0, |path| path.as_str().len());
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| name.as_str().len() + value.len() + PER_HEADER);
    path + headers.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, content_type: Option<&str>, more: usize) -> Request<()> {
        let request = Request::builder().method(method).uri("/a.B/C");
        let request = match content_type {
            Some(content_type) => request.header(CONTENT_TYPE, content_type),
            None => request,
        };
        let request = request.header("x-more", "x".repeat(more));
        request.body(()).expect("a request")
    }

    #[test]
    fn a_call_says_that_its_messages_are_protobuf() {
        let protobuf = [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;charset=utf-8",
            "Application/GRPC+Proto ; q=1",
        ];
        for content_type in protobuf {
            let call = request("POST", Some(content_type), 0);
            assert_eq!(Malformed::of(&call), None, "{content_type}");
        }
        let other = [
            "",
            "application/json",
            "application/grpc+json",
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grpc-web-text",
            "application/grpcx",
            "application/proto",
            "text/plain, application/grpc",
        ];
        for content_type in other.map(Some).into_iter().chain([None]) {
            let call = request("POST", content_type, 0);
            let malformed = Malformed::of(&call);
            assert_eq!(malformed, Some(Malformed::ContentType), "{content_type:?}");
        }
    }

    #[test]
    fn a_call_is_a_post() {
        for method in ["GET", "PUT", "OPTIONS", "CONNECT", "post"] {
            let call = request(method, Some("application/grpc"), 0);
            assert_eq!(Malformed::of(&call), Some(Malformed::Method), "{method}");
        }
    }

    #[test]
    fn headers_are_counted_as_http_2_counts_them() {
        let others = "/a.B/C".len() + "content-type".len() + "application/grpc".len() + 32;
        let most = MAX_HEADER_BYTES - others - "x-more".len() - 32;
        let of = |more| Malformed::of(&request("POST", Some("application/grpc"), more));
        assert_eq!(of(most), None);
        assert_eq!(of(most + 1), Some(Malformed::Headers));
    }

    #[test]
    fn the_answers_are_for_http_and_for_grpc() {
        let id = RequestId::chosen("a").expect("plain");
        for (malformed, http, grpc) in [
            (Malformed::Method, 405, "3"),
            (Malformed::ContentType, 415, "3"),
            (Malformed::Headers, 200, "8"),
        ] {
            let answer = malformed.answer(&id);
            assert_eq!(answer.status(), http);
            assert_eq!(answer.headers()["grpc-status"], grpc);
            assert_eq!(answer.headers()[CONTENT_TYPE], "application/grpc");
        }
    }
}
