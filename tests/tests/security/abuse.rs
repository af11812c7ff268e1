//! Callers that do not mean it, beside one that does.

use futures::StreamExt as _;
use nix::sys::signal::Signal;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, sync::oneshot};
use tonic::{Code, Request, Streaming, transport::Channel};
use toolgate_proto::pb::{
    CheckRequest, CheckStreamResponse, Identity, check_request::Operation,
    limiter_service_client::LimiterServiceClient,
};
use toolgate_tests::{Limiter, eventually, of_user};

use crate::{
    frames::{HEADERS, PREFACE, call, closed, connect, frame, trickle},
    stage::{Stage, TEN_A_DAY, check},
};

async fn limiter(arguments: &[&str]) -> Limiter {
    Limiter::of_spec(TEN_A_DAY, arguments)
        .await
        .expect("a limiter")
}

const MANY: usize = 50;

/// Connections that never come to the point: silent ones, and ones in the middle of the preface.
async fn loiterers(limiter: &Limiter) -> Vec<TcpStream> {
    let mut loiterers = Vec::new();
    for number in 0..MANY {
        let mut stream = connect(limiter).await;
        let said = &PREFACE[..number % 20];
        stream.write_all(said).await.expect("sent");
        loiterers.push(stream);
    }
    loiterers
}

/// hyper waits for a preface for ever, and in a shutdown too: one such connection kept the limiter
/// from ending for its whole drain timeout.
#[tokio::test]
async fn a_preface_that_never_comes_holds_up_no_drain() {
    let arguments = [
        "--connections-handshake-timeout",
        "10m",
        "--drain-timeout",
        "10m",
    ];
    let mut limiter = limiter(&arguments).await;
    let mut loiterers = loiterers(&limiter).await;
    let honest = limiter.client().await.expect("a connection");
    check(&honest, of_user("alice")).await.expect("an answer");
    limiter.signal(Signal::SIGTERM).expect("told to stop");
    assert!(limiter.wait().await.expect("ended").success());
    for loiterer in &mut loiterers {
        closed(loiterer).await;
    }
}

#[tokio::test]
async fn a_preface_that_never_comes_is_not_waited_for() {
    let limiter = limiter(&["--connections-handshake-timeout", "500ms"]).await;
    for loiterer in &mut loiterers(&limiter).await {
        closed(loiterer).await;
    }
    limiter.check(of_user("alice")).await.expect("an answer");
}

#[tokio::test]
async fn bytes_that_trickle_in_buy_no_time() {
    let plain = limiter(&["--connections-handshake-timeout", "500ms"]).await;
    // At 20 ms a byte the preface would take longer.
    trickle(&mut connect(&plain).await, PREFACE).await;
    plain.check(of_user("alice")).await.expect("an answer");

    let stage = Stage::start("", &["--connections-handshake-timeout", "500ms"]).await;
    // The first bytes of a TLS record of 16 KiB: a handshake that never ends.
    trickle(
        &mut connect(&stage.limiter).await,
        &[22, 3, 1, 64, 0, 1, 0, 63, 252, 3, 3],
    )
    .await;
    closed(&mut connect(&stage.limiter).await).await;
    let honest = stage.client(&["gateway.svc"]).await;
    check(&honest, of_user("alice")).await.expect("an answer");
}

#[tokio::test]
async fn a_connection_too_many_is_closed_at_once_and_told_once() {
    let limiter = limiter(&["--connections-max", "3"]).await;
    let told = || {
        let log = limiter.log().expect("a log");
        log.matches("there are as many as may be").count()
    };
    let mut honest = Vec::new();
    for _ in 0..3 {
        let client = limiter.client().await.expect("a connection");
        check(&client, of_user("alice")).await.expect("an answer");
        honest.push(client);
    }
    for _ in 0..10 {
        assert!(closed(&mut connect(&limiter).await).await.is_empty());
    }
    assert_eq!(told(), 1);
    for client in &honest {
        check(client, of_user("alice")).await.expect("still there");
    }
    drop(honest);
    eventually("there is room again", async || {
        let client = limiter.client().await.ok()?;
        check(&client, of_user("alice")).await.ok()
    })
    .await;
}

#[tokio::test]
async fn headers_without_measure_are_refused_and_the_connection_goes_on() {
    let limiter = limiter(&[]).await;
    let client = limiter.client().await.expect("a connection");
    let with_header = |bytes: usize| {
        let mut request = Request::new(of_user("alice"));
        let value = "x".repeat(bytes).parse().expect("ASCII");
        request.metadata_mut().insert("x-long", value);
        request
    };
    client
        .clone()
        .check(with_header(8_000))
        .await
        .expect("what a token may need");
    client
        .clone()
        .check(with_header(17_000))
        .await
        .expect_err("refused");
    check(&client, of_user("alice")).await.expect("an answer");
}

/// A call whose request does not come is answered when its time is up.
#[tokio::test]
async fn a_call_that_is_never_made_is_not_waited_for() {
    let limiter = limiter(&[]).await;
    let mut stream = connect(&limiter).await;
    let path = "/toolgate.v1.LimiterService/Check";
    let half_open = call(1, path, &[("grpc-timeout", "200m")]);
    stream
        .write_all(&[PREFACE, &half_open].concat())
        .await
        .expect("sent");
    let answer = frame(&mut stream, HEADERS).await;
    let said = String::from_utf8_lossy(&answer);
    assert!(said.contains('4'), "DEADLINE_EXCEEDED: {said:?}");
}

/// Streams that say nothing. What they cost is bounded by their number, and honest callers are served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_half_open_streams_cost_little_and_hold_up_nobody() {
    // All come from one address, and one caller may have half of the calls.
    let mut limiter = limiter(&["--connections-max-calls", "24000"]).await;
    let honest = limiter.client().await.expect("a connection");
    check(&honest, of_user("alice")).await.expect("an answer");
    let before = limiter.resident_bytes().expect("memory");
    let mut streams = Vec::new();
    for _ in 0..40 {
        let client = limiter.client().await.expect("a connection");
        for _ in 0..250 {
            streams.push(silent(&client).await);
        }
    }
    assert_eq!(streams.len(), 10_000);
    let grown = limiter
        .resident_bytes()
        .expect("memory")
        .saturating_sub(before);
    println!("10000 half-open streams: {} bytes each", grown / 10_000);
    assert!(grown < 500 << 20, "{grown} bytes");
    check(&honest, of_user("alice")).await.expect("an answer");
}

/// A stream that says nothing, and ends with the value that comes with it.
async fn silent(
    client: &LimiterServiceClient<Channel>,
) -> (Streaming<CheckStreamResponse>, oneshot::Sender<()>) {
    let (end, ended) = oneshot::channel();
    let requests = futures::stream::pending().take_until(ended);
    let answers = client.clone().check_stream(requests).await;
    (answers.expect("a stream").into_inner(), end)
}

#[tokio::test]
async fn a_call_too_many_is_refused_at_once() {
    let limiter = limiter(&["--connections-max-calls", "10"]).await;
    let client = limiter.client().await.expect("a connection");
    let mut streams = Vec::new();
    for _ in 0..10 {
        streams.push(silent(&client).await);
    }
    let refused = check(&client, of_user("alice"))
        .await
        .expect_err("one too many");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    streams.pop();
    eventually("there is room again", async || {
        check(&client, of_user("alice")).await.ok()
    })
    .await;
}

/// On one connection they wait for each other, as HTTP/2 has it.
#[tokio::test]
async fn streams_of_one_connection_are_bounded() {
    let limiter = limiter(&["--connections-max-streams", "5"]).await;
    let client = limiter.client().await.expect("a connection");
    check(&client, of_user("alice")).await.expect("an answer");
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(silent(&client).await);
    }
    let one_more = check(&client, of_user("alice"));
    let mut one_more = std::pin::pin!(one_more);
    assert!(futures::poll!(&mut one_more).is_pending());
    streams.pop();
    one_more.await.expect("its turn");
    let other = limiter.client().await.expect("a connection");
    check(&other, of_user("alice")).await.expect("an answer");
}

/// Subjects and resources are for debug at the most.
#[tokio::test]
async fn nothing_of_who_called_for_what_is_in_the_log() {
    let limiter = limiter(&["--log", "info"]).await;
    let client = limiter.client().await.expect("a connection");
    let (who, what) = ("subject-of-nobody-else", "file:///of/nobody/else");
    let request = |server: &str, resource: &str| CheckRequest {
        server: server.to_owned(),
        identity: Some(Identity {
            subject: who.to_owned(),
            ..Identity::default()
        }),
        operation: Some(Operation::Resource(resource.to_owned())),
        cost: 1,
    };
    for _ in 0..12 {
        check(&client, request("test/server", what))
            .await
            .expect("an answer");
    }
    check(&client, request("no server", what))
        .await
        .expect_err("invalid");
    let too_long = what.repeat(1_000);
    check(&client, request("test/server", &too_long))
        .await
        .expect_err("invalid");
    let reset = toolgate_proto::pb::ResetBucketsRequest {
        server: "test/server".to_owned(),
        identity: request("", "").identity,
        operation: None,
    };
    let mut admin = limiter.admin().await.expect("a connection");
    admin.reset_buckets(reset).await.expect("reset");
    let log = limiter.log().expect("a log");
    assert!(log.contains("buckets were reset"), "{log}");
    assert!(!log.contains(who) && !log.contains(what), "{log}");
}
