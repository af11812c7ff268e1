//! gRPC as its libraries speak it, and what only looks like it.

use prost::Message as _;
use tokio::time::timeout;
use tonic::{
    Code, Request, Status,
    body::Body,
    client::Grpc,
    codegen::{Service as _, http},
    transport::Channel,
};
use toolgate_proto::pb::{
    CheckResponse, CheckStreamRequest, check_stream_response::Result as Outcome,
};
use toolgate_tests::{Limiter, PATIENCE, RawCodec, of_user};

use crate::stage::TEN_A_DAY;

const CHECK: &str = "/toolgate.v1.LimiterService/Check";

/// Above what any client needs, and above any bound.
const TOO_LARGE: usize = 2 << 20;

async fn limiter() -> Limiter {
    Limiter::of_spec(TEN_A_DAY, [""; 0])
        .await
        .expect("a limiter")
}

/// The tokens that `user` has left.
async fn remaining(limiter: &Limiter, user: &str) -> u32 {
    let reply = limiter.check(of_user(user)).await.expect("an answer");
    reply.buckets[0].remaining + 1
}

/// The message of a check, as a gRPC body has it.
fn body(user: &str) -> Vec<u8> {
    let message = of_user(user).encode_to_vec();
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    [&[0], &length[..], &message].concat()
}

/// It ended the connection, and the streams of others who share it.
#[tokio::test]
async fn metadata_above_the_bound_ends_its_own_call_alone() {
    let limiter = limiter().await;
    let client = limiter.client().await.expect("a connection");
    let (requests, receiver) = futures::channel::mpsc::unbounded();
    let answers = client.clone().check_stream(receiver).await;
    let mut answers = answers.expect("a stream").into_inner();
    let with_metadata = |values: usize, bytes: usize| {
        let mut request = Request::new(of_user("alice"));
        for _ in 0..values {
            let value = "x".repeat(bytes).parse().expect("ASCII");
            request.metadata_mut().append("x-long", value);
        }
        request
    };
    for (values, bytes, expected) in [
        (1, 8_000, None),
        (1, 17_000, Some(Code::ResourceExhausted)),
        (1, 65_536, Some(Code::ResourceExhausted)),
        (500, 100, Some(Code::ResourceExhausted)),
        // Beyond what is read; HTTP/2 says 431.
        (8, 15_000, Some(Code::Unknown)),
    ] {
        let call = client.clone().check(with_metadata(values, bytes)).await;
        let code = call.as_ref().err().map(Status::code);
        assert_eq!(code, expected, "{values} of {bytes}: {call:?}");
        let request = CheckStreamRequest {
            check: Some(of_user("bob")),
            ..CheckStreamRequest::default()
        };
        requests
            .unbounded_send(request)
            .expect("the stream is open");
        let answer = timeout(PATIENCE, answers.message()).await.expect("in time");
        let answer = answer.expect("the stream goes on").expect("an answer");
        assert!(matches!(answer.result, Some(Outcome::Response(_))));
    }
    // What was refused has paid nothing.
    assert_eq!(remaining(&limiter, "alice").await, 9);
}

/// tonic says `OUT_OF_RANGE`; gRPC has `RESOURCE_EXHAUSTED` (grpc/grpc, doc/statuscodes.md).
#[tokio::test]
async fn a_message_above_the_bound_is_resource_exhausted_in_every_service() {
    let limiter = limiter().await;
    let channel = limiter.channel().await.expect("a connection");
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    for (path, is_stream) in [
        (CHECK, false),
        ("/toolgate.v1.LimiterService/Peek", false),
        ("/toolgate.v1.AdminService/GetPolicy", false),
        ("/grpc.health.v1.Health/Check", false),
        ("/grpc.health.v1.Health/Watch", false),
        ("/toolgate.v1.LimiterService/CheckStream", true),
        (reflection, true),
        (&reflection.replace("v1", "v1alpha"), true),
    ] {
        let mut grpc = Grpc::new(channel.clone());
        grpc.ready().await.expect("a connection");
        let path = path.parse().expect("a path");
        let message = vec![0; TOO_LARGE];
        let codec = RawCodec::<CheckResponse>::default();
        let call = async {
            if is_stream {
                let messages = Request::new(futures::stream::iter([message]));
                let mut answers = grpc.streaming(messages, path, codec).await?.into_inner();
                answers.message().await.map(drop)
            } else {
                grpc.unary(Request::new(message), path, codec)
                    .await
                    .map(drop)
            }
        };
        let status = timeout(PATIENCE, call).await.expect("in time");
        let code = status.map_err(|status| status.code());
        assert_eq!(code, Err(Code::ResourceExhausted));
    }
}

async fn send(
    channel: &Channel,
    request: http::request::Builder,
    body: Vec<u8>,
) -> http::Response<Body> {
    let mut channel = channel.clone();
    std::future::poll_fn(|cx| channel.poll_ready(cx))
        .await
        .expect("a connection");
    let request = request
        .body(Body::new(axum::body::Body::from(body)))
        .expect("a request");
    let answer = timeout(PATIENCE, channel.call(request)).await;
    answer.expect("in time").expect("an answer")
}

fn header<'a>(answer: &'a http::Response<Body>, name: &str) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}

/// They were decided, and paid.
#[tokio::test]
async fn a_body_that_is_no_protobuf_is_refused_and_pays_nothing() {
    let limiter = limiter().await;
    let channel = limiter.channel().await.expect("a connection");
    let request = |method, content_type: Option<&str>| {
        let request = http::Request::builder().method(method).uri(CHECK);
        match content_type {
            Some(content_type) => request.header("content-type", content_type),
            None => request,
        }
    };
    for content_type in [
        Some("application/json"),
        Some("application/grpc+json"),
        Some("application/grpc-web"),
        Some("application/grpc-web+proto"),
        Some("application/grpc-web-text"),
        Some("application/proto"),
        Some("text/plain"),
        None,
    ] {
        let answer = send(&channel, request("POST", content_type), body("alice")).await;
        assert_eq!(answer.status(), 415, "{content_type:?}");
        assert_eq!(
            header(&answer, "grpc-status"),
            Some("3"),
            "{content_type:?}"
        );
    }
    for method in ["GET", "PUT", "DELETE"] {
        let answer = send(
            &channel,
            request(method, Some("application/grpc")),
            body("alice"),
        )
        .await;
        assert_eq!(answer.status(), 405, "{method}");
    }
    for content_type in ["application/grpc", "application/grpc+proto"] {
        let answer = send(&channel, request("POST", Some(content_type)), body("bob")).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(
            header(&answer, "grpc-status"),
            None,
            "it is in the trailers"
        );
    }
    assert_eq!(remaining(&limiter, "alice").await, 10);
    assert_eq!(remaining(&limiter, "bob").await, 8);
}

/// No message is unpacked, so that a small one can be no large one.
#[tokio::test]
async fn a_compressed_message_is_unimplemented_and_says_what_is_not() {
    let limiter = limiter().await;
    let channel = limiter.channel().await.expect("a connection");
    let request = || {
        let request = http::Request::builder().method("POST").uri(CHECK);
        request.header("content-type", "application/grpc")
    };
    for encoding in ["gzip", "deflate", "zstd", "br"] {
        let request = request().header("grpc-encoding", encoding);
        let answer = send(&channel, request, body("alice")).await;
        assert_eq!(header(&answer, "grpc-status"), Some("12"), "{encoding}");
        assert_eq!(header(&answer, "grpc-accept-encoding"), Some("identity"));
    }
    // A message that says that it is compressed, in a call that does not.
    let mut compressed = body("alice");
    compressed[0] = 1;
    let answer = send(&channel, request(), compressed).await;
    assert_eq!(header(&answer, "grpc-status"), Some("13"));
    let identity = request().header("grpc-encoding", "identity");
    let answer = send(&channel, identity, body("alice")).await;
    assert_eq!(
        header(&answer, "grpc-status"),
        None,
        "it is in the trailers"
    );
    assert_eq!(remaining(&limiter, "alice").await, 9);
}

#[tokio::test]
async fn a_path_of_nothing_is_unimplemented() {
    let limiter = limiter().await;
    let channel = limiter.channel().await.expect("a connection");
    for path in [
        "/toolgate.v1.LimiterService/Check/",
        "//toolgate.v1.LimiterService/Check",
        "/toolgate.v1.LimiterService/check",
        "/toolgate.v1.LimiterService",
        "/toolgate.v2.LimiterService/Check",
        "/grpc.reflection.v1alpha.ServerReflection/Nothing",
        "/",
    ] {
        let request = http::Request::builder().method("POST").uri(path);
        let request = request.header("content-type", "application/grpc");
        let answer = send(&channel, request, body("alice")).await;
        assert_eq!(header(&answer, "grpc-status"), Some("12"), "{path}");
        assert_eq!(answer.status(), 200, "{path}");
    }
    assert_eq!(remaining(&limiter, "alice").await, 10);
}
