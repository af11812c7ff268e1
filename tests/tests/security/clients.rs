//! gRPC as its libraries speak it, and what only looks like it.

use prost::Message as _;
use tokio::{io::AsyncWriteExt as _, time::timeout};
use tonic::{
    Code, Request, Status,
    body::Body,
    client::Grpc,
    codegen::{Service as _, http},
    transport::Channel,
};
use toolgate_proto::pb::{
    CheckResponse, CheckStreamRequest, Decision, check_stream_response::Result as Outcome,
};
use toolgate_tests::{Limiter, PATIENCE, RawCodec, of_user};

use crate::{
    frames::{self, PREFACE, call_as, connect, data, literal},
    stage::TEN_A_DAY,
};

const CHECK: &str = "/toolgate.v1.LimiterService/Check";

/// Above what any client needs, and above any bound.
const TOO_LARGE: usize = 2 << 20;

/// `%2Frun%2Ftoolgate.sock` in Huffman's code.
const CODED: &[u8] = b"\x54\x58\x6c\xb6\xa5\x45\x85\x27\x3d\x13\x0d\x25\x5d\x07\x27\x5f";

const MANY_A_DAY: &str = "perUser: {maxTokens: 1000000, refillPeriod: 24h}";

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

/// What grpcio 1.85 and grpc-java write for a socket at this path, for two addresses, and the first one
/// in Huffman's code, as nghttp2 does. All of them were answered with `RST_STREAM`, and after a thousand the
/// connection was ended.
#[tokio::test]
async fn an_authority_that_is_none_is_served_and_again_from_the_table() {
    let limiter = Limiter::of_spec(MANY_A_DAY, [""; 0]).await;
    let limiter = limiter.expect("a limiter");
    let authorities: [(&[u8], bool); 5] = [
        (b"%2Frun%2Ftoolgate.sock", false),
        (b"/run/toolgate.sock", false),
        (b"10.0.0.1:7070%2C10.0.0.2:7070", false),
        (CODED, true),
        // Of the same kind: Envoy's name of an authorization extension, and no ASCII.
        ("extension/h\u{f6}st/auth".as_bytes(), false),
    ];
    for (authority, huffman) in authorities {
        let mut stream = connect(&limiter).await;
        let all = b"\x7f\x00\x00\x00";
        let window = [&[0, 0, 4, 8, 0, 0, 0, 0, 0], &all[..]].concat();
        stream
            .write_all(&[PREFACE, &window].concat())
            .await
            .expect("sent");
        // First as a literal that joins the table, then as its first entry, then as a literal again.
        for number in 0..1_100_u32 {
            let field = match number {
                1..1_000 => vec![0xbe],
                _ => literal(1, authority, huffman),
            };
            let id = 2 * number + 1;
            let call = [call_as(id, CHECK, &field, &[]), data(id, &body("alice"))];
            stream.write_all(&call.concat()).await.expect("open");
            let answer = frames::answer(&mut stream, id).await;
            let message = answer.map(|answer| CheckResponse::decode(&answer[5..]));
            let decision = message.map(|message| message.expect("a message").decision());
            assert_eq!(decision, Ok(Decision::Allowed), "{authority:?}, {number}");
        }
    }
}

/// The same by a real client, whose calls were INTERNAL.
#[cfg(feature = "sdk")]
#[tokio::test]
async fn grpcio_is_served_on_a_unix_socket_and_on_two_addresses() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = format!("unix://{}", folder.path().join("toolgate.sock").display());
    let on_socket = Limiter::of_spec(MANY_A_DAY, ["--grpc-listen", &socket]).await;
    let on_socket = on_socket.expect("a limiter");
    assert_eq!(on_socket.endpoint(), socket);
    let on_tcp = Limiter::of_spec(MANY_A_DAY, [""; 0]).await;
    let on_tcp = on_tcp.expect("a limiter");
    let address = on_tcp.endpoint().strip_prefix("http://").expect("TCP");
    for target in [socket, format!("ipv4:{address},{address}")] {
        let python = std::env::var_os("TOOLGATE_TEST_PYTHON");
        let python = python.unwrap_or_else(|| "python3".into());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/sdk/grpc_client.py");
        let run = tokio::process::Command::new(python)
            .args([script, "1200", &target])
            .kill_on_drop(true)
            .output();
        let run = timeout(PATIENCE, run).await.expect("in time");
        let run = run.expect("Python is installed, and grpcio");
        let errors = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{errors}");
        let codes: serde_json::Value = serde_json::from_slice(&run.stdout).expect("JSON");
        assert_eq!(codes, serde_json::json!({"OK": 1_200}), "{target}");
    }
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
    // The name of an encoding is not repeated at any length, or the answer would be the caller's undoing.
    let request_of_long = request().header("grpc-encoding", "x".repeat(15_000));
    let answer = send(&channel, request_of_long, body("alice")).await;
    assert_eq!(header(&answer, "grpc-status"), Some("12"));
    let bytes = answer.headers().iter().map(|(_, value)| value.len());
    assert!(bytes.sum::<usize>() < 8_192, "{:?}", answer.headers());
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
