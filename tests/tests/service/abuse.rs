//! Bytes that no honest client sends: what they cost whoever sends them, and nobody else.

use std::path::Path;

use futures::{StreamExt as _, stream};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tonic::{
    Code, Request, Status, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel,
};
use toolgate_proto::pb::{
    CheckResponse, CheckStreamRequest, CheckStreamResponse, Decision,
    check_stream_response::Result as Outcome, limiter_service_client::LimiterServiceClient,
};
use toolgate_tests::{Limiter, PATIENCE, RawCodec, Seed, of_user, seeds};

use crate::limiter;

const MANY_A_DAY: &str = "perUser: {maxTokens: 1000000, refillPeriod: 24h}";

/// `user` as the subject, which is no UTF-8.
const NOT_UTF8: &[u8] = b"\x0a\x0btest/server\x12\x06\x0a\x04us\xffr";

/// Every seed of every fuzz target.
fn all_seeds() -> Vec<Seed> {
    let targets = ["manifest", "grpc", "jsonrpc"];
    let all = targets.map(|target| seeds(target).expect("seeds"));
    all.into_iter().flatten().collect()
}

async fn grpc(channel: &Channel) -> Grpc<Channel> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.expect("a connection");
    grpc
}

/// What comes of a `Check` whose message is `bytes`.
async fn check(channel: &Channel, bytes: Vec<u8>) -> Result<CheckResponse, Status> {
    let path = PathAndQuery::from_static("/toolgate.v1.LimiterService/Check");
    let mut grpc = grpc(channel).await;
    let call = grpc.unary(Request::new(bytes), path, RawCodec::default());
    let reply = timeout(PATIENCE, call).await.expect("an end");
    reply.map(tonic::Response::into_inner)
}

/// What comes of a `CheckStream` whose messages are `messages`: all replies, to its end.
async fn check_stream(
    channel: &Channel,
    messages: Vec<Vec<u8>>,
) -> Vec<Result<CheckStreamResponse, Status>> {
    let path = PathAndQuery::from_static("/toolgate.v1.LimiterService/CheckStream");
    let mut grpc = grpc(channel).await;
    let messages = Request::new(stream::iter(messages));
    let replies = async {
        match grpc.streaming(messages, path, RawCodec::default()).await {
            Ok(replies) => replies.into_inner().collect().await,
            Err(status) => vec![Err(status)],
        }
    };
    timeout(PATIENCE, replies).await.expect("an end")
}

/// Sends `bytes` on a connection of its own, and waits until the limiter has closed that.
async fn throw(address: &str, bytes: &[u8]) {
    let mut connection = TcpStream::connect(address).await.expect("a connection");
    // The limiter may have hung up before all was sent.
    let _ = connection.write_all(bytes).await;
    let _ = connection.shutdown().await;
    let mut said = Vec::new();
    let closed = connection.read_to_end(&mut said);
    let _ = timeout(PATIENCE, closed).await.expect("closed");
}

fn streamed(id: u64) -> Vec<u8> {
    let request = CheckStreamRequest {
        id,
        check: Some(of_user("alice")),
        ..CheckStreamRequest::default()
    };
    request.encode_to_vec()
}

async fn assert_honest_callers_are_served(limiter: &Limiter, channel: &Channel) {
    let reply = limiter.check(of_user("alice")).await.expect("a decision");
    assert_eq!(reply.decision(), Decision::Allowed);
    let reply = check(channel, of_user("alice").encode_to_vec()).await;
    assert_eq!(reply.expect("a decision").decision(), Decision::Allowed);
}

#[tokio::test]
async fn every_fuzz_seed_as_garbage_on_the_grpc_port_leaves_the_limiter_serving() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let limiter = limiter(MANY_A_DAY).await;
    let channel = limiter.channel().await.expect("a connection");
    let address = limiter.endpoint().strip_prefix("http://").expect("TCP");
    for seed in all_seeds() {
        throw(address, &seed.bytes).await;
        throw(address, &[PREFACE, &seed.bytes].concat()).await;
        // A frame of settings first, so that what follows is read as frames.
        throw(
            address,
            &[PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0], &seed.bytes].concat(),
        )
        .await;
    }
    assert_honest_callers_are_served(&limiter, &channel).await;
    assert_eq!(panics(&limiter), 0);
}

#[tokio::test]
async fn every_fuzz_seed_as_a_message_fails_alone() {
    let limiter = limiter(MANY_A_DAY).await;
    let channel = limiter.channel().await.expect("a connection");
    let (mut decided, mut refused) = (0, 0);
    for Seed { name, bytes } in all_seeds() {
        let replies = check_stream(&channel, vec![streamed(1), bytes.clone()]).await;
        let first = replies.iter().flatten().find(|reply| reply.id == 1);
        assert!(first.is_some(), "{}: {replies:?}", file_name(&name));
        match check(&channel, bytes).await {
            Ok(_) => decided += 1,
            Err(status) => {
                let codes = [Code::InvalidArgument, Code::Internal];
                assert!(
                    codes.contains(&status.code()),
                    "{}: {status}",
                    file_name(&name)
                );
                refused += 1;
            }
        }
    }
    assert!(decided > 0 && refused > 0, "{decided} and {refused}");
    assert_honest_callers_are_served(&limiter, &channel).await;
    assert_eq!(panics(&limiter), 0);
}

/// A message that cannot be read says no id, so a stream ends there, with its reason, once all that
/// came ahead is answered. Other streams of the same connection go on.
#[tokio::test]
async fn a_text_that_is_no_utf8_ends_its_own_call_or_stream_alone() {
    let limiter = limiter(MANY_A_DAY).await;
    let channel = limiter.channel().await.expect("a connection");
    let status = check(&channel, NOT_UTF8.to_vec())
        .await
        .expect_err("no UTF-8");
    assert_eq!(status.code(), Code::Internal);

    let mut client = LimiterServiceClient::new(channel.clone());
    let (mut sender, receiver) = futures::channel::mpsc::channel(1);
    let other = client.check_stream(receiver).await.expect("a stream");
    let mut other = other.into_inner();

    let length = u8::try_from(NOT_UTF8.len()).expect("short");
    let wrong = [&[8, 9, 0x12, length], NOT_UTF8].concat();
    let mut messages: Vec<_> = (0..50).map(streamed).collect();
    messages.push(wrong);
    messages.push(streamed(99));
    let replies = check_stream(&channel, messages).await;
    let (answers, ends): (Vec<_>, Vec<_>) = replies.into_iter().partition(Result::is_ok);
    let mut ids: Vec<_> = answers
        .into_iter()
        .flatten()
        .map(|answer| answer.id)
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..50).collect::<Vec<_>>());
    let codes: Vec<_> = ends
        .into_iter()
        .filter_map(Result::err)
        .map(|end| end.code())
        .collect();
    assert_eq!(codes, [Code::Internal]);

    let request = CheckStreamRequest {
        id: 5,
        check: Some(of_user("bob")),
        ..CheckStreamRequest::default()
    };
    sender.try_send(request).expect("the stream is open");
    let reply = timeout(PATIENCE, other.next()).await.expect("in time");
    let reply = reply.expect("the stream goes on").expect("a reply");
    assert!(
        matches!(reply.result, Some(Outcome::Response(_))),
        "{reply:?}"
    );
    assert_honest_callers_are_served(&limiter, &channel).await;
}

fn panics(limiter: &Limiter) -> usize {
    let log = limiter.log().expect("a log");
    log.matches("panicked at").count()
}

fn file_name(path: &str) -> &str {
    let name = Path::new(path).file_name().and_then(|name| name.to_str());
    name.unwrap_or(path)
}
