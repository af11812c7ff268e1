//! What one connection holds is its own share, and nobody else's.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::io::AsyncWriteExt as _;
use tonic::{Code, Streaming, transport::Endpoint};
use toolgate_proto::pb::{
    CheckRequest, CheckStreamRequest, CheckStreamResponse,
    limiter_service_client::LimiterServiceClient,
};
use toolgate_tests::{Limiter, RedisServer, eventually, of_user};

use crate::{
    frames::{
        HEADERS, PING, PREFACE, PREFACE_WITHOUT_WINDOW, answer, call, connect, frame, message,
        part, ping,
    },
    stage::check,
};

const GENEROUS: &str = "perUser: {maxTokens: 1000000, refillPeriod: 24h}";

/// Checks that one connection may leave unread, by default: a quarter of 10,000.
const SHARE: u64 = 2_500;

/// The window of a stream for its requests.
const WINDOW: usize = 32 * 1024;

/// The most checks that are read at a time.
const GROUP: u64 = 64;

/// Streams of a connection that opens no window: whatever it is answered, it reads nothing.
pub(crate) async fn unread(
    limiter: &Limiter,
    streams: usize,
    checks: u64,
) -> Vec<Streaming<CheckStreamResponse>> {
    let endpoint = Endpoint::from_shared(limiter.endpoint().to_owned()).expect("a URL");
    let endpoint = endpoint.initial_stream_window_size(0);
    let channel = endpoint.connect().await.expect("a connection");
    let client = LimiterServiceClient::new(channel);
    let mut open = Vec::new();
    for _ in 0..streams {
        let requests = (1..=checks).map(|id| CheckStreamRequest {
            id,
            check: Some(of_user("mallory")),
            ..CheckStreamRequest::default()
        });
        let requests = stream::iter(requests).chain(stream::pending());
        let answers = client.clone().check_stream(requests).await;
        open.push(answers.expect("a stream").into_inner());
    }
    open
}

/// Checks that the limiter has decided.
pub(crate) async fn decided(limiter: &Limiter) -> u64 {
    let exposition = limiter.metrics().await.expect("metrics");
    let counted = exposition.counted("toolgate_checks_total");
    counted.values().sum()
}

/// A connection with a window of 0 and 20 streams of 32 groups kept all 10,000 checks in flight for as
/// long as it lived, and 0 of 300 honest checks were answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_no_answers_keeps_no_check_in_flight_and_is_read_no_further() {
    let limiter = Limiter::of_spec(GENEROUS, &["--connections-unread-timeout", "10m"]).await;
    let limiter = limiter.expect("a limiter");
    let attacker = unread(&limiter, 20, 32 * GROUP).await;
    eventually("its share is used up", async || {
        let decided = decided(&limiter).await;
        (decided >= SHARE).then_some(())
    })
    .await;
    let honest = limiter.client().await.expect("a connection");
    for _ in 0..300 {
        check(&honest, of_user("alice")).await.expect("decided");
    }
    let exposition = limiter.metrics().await.expect("metrics");
    assert_eq!(exposition.value("toolgate_checks_in_flight"), 0);
    let of_attacker = decided(&limiter).await - 300;
    // And of each stream what HTTP/2 takes before it finds that there is no window: 32 KiB.
    assert!(
        (SHARE..SHARE + GROUP + 20 * 512).contains(&of_attacker),
        "{of_attacker} of 40960"
    );
    drop(attacker);
}

/// HTTP/2 holds back a caller whose stream is read no further. h2 ended the connection instead, as a
/// flood of small frames, where its window for a connection was 256 KiB.
#[tokio::test]
async fn a_stream_that_is_read_no_further_ends_no_connection_however_small_its_checks_are() {
    let arguments = [
        "--connections-max-checks",
        "1",
        "--connections-unread-timeout",
        "10m",
    ];
    let limiter = Limiter::of_spec(GENEROUS, arguments).await;
    let limiter = limiter.expect("a limiter");
    let mut callers = Vec::new();
    for check in [CheckRequest::default(), of_user("alice")] {
        let message = CheckStreamRequest {
            check: Some(CheckRequest {
                server: "test/server".to_owned(),
                ..check
            }),
            id: 1,
            ..CheckStreamRequest::default()
        };
        let message = self::message(&message);
        let mut caller = connect(&limiter).await;
        let begun = |stream| call(stream, "/toolgate.v1.LimiterService/CheckStream", &[]);
        let said = [PREFACE_WITHOUT_WINDOW, &begun(1), &begun(3)].concat();
        caller.write_all(&said).await.expect("sent");
        // Their answers wait, and fill the share.
        let of_share = part(1, &message).repeat(100);
        caller.write_all(&of_share).await.expect("sent");
        caller.write_all(&ping()).await.expect("sent");
        frame(&mut caller, PING).await;
        let of_window = part(3, &message).repeat(WINDOW / message.len());
        caller.write_all(&of_window).await.expect("sent");
        // A GOAWAY would come, and the end.
        for _ in 0..2 {
            caller.write_all(&ping()).await.expect("sent");
            frame(&mut caller, PING).await;
        }
        callers.push(caller);
    }
    let decided = decided(&limiter).await;
    assert!(
        (2..=2 * 100).contains(&decided),
        "{decided}: no second stream is read"
    );
}

/// Requests with terms of their own are groups of their own.
#[tokio::test]
async fn a_stream_has_so_many_groups_at_a_time_and_is_read_no_further() {
    const GROUPS: u64 = 32;
    let mut redis = RedisServer::start().await.expect("Redis");
    let arguments = ["--store", &redis.url(), "--store-timeout", "30s"];
    let limiter = Limiter::of_spec(GENEROUS, &arguments).await;
    let limiter = limiter.expect("a limiter");
    redis.pause().expect("stopped");
    let mut caller = connect(&limiter).await;
    let messages = (1..=2 * GROUPS).map(|id| {
        let timeout = Duration::from_secs(100 + id);
        message(&CheckStreamRequest::new(id, of_user("alice"), timeout))
    });
    let messages = messages.collect::<Vec<_>>().concat();
    let path = "/toolgate.v1.LimiterService/CheckStream";
    let said = [PREFACE, &call(1, path, &[]), &part(1, &messages)].concat();
    caller.write_all(&said).await.expect("sent");
    let in_flight = async || {
        let exposition = limiter.metrics().await.expect("metrics");
        exposition.value("toolgate_checks_in_flight")
    };
    eventually("they wait for Redis", async || {
        (in_flight().await >= GROUPS).then_some(())
    })
    .await;
    assert_eq!(in_flight().await, GROUPS);
    redis.resume().expect("it goes on");
    eventually("the others follow", async || {
        (decided(&limiter).await == 2 * GROUPS).then_some(())
    })
    .await;
}

/// A group that was larger than a bound was refused whole, though nothing else was decided.
#[tokio::test]
async fn of_checks_that_come_together_as_many_are_decided_as_there_is_room_for() {
    for (bound, at_a_time) in [
        ("--max-in-flight", 10),
        ("--connections-max-checks-per-caller", 7),
    ] {
        let limiter = Limiter::of_spec(GENEROUS, &[bound, &at_a_time.to_string()]).await;
        let limiter = limiter.expect("a limiter");
        let mut caller = connect(&limiter).await;
        let path = "/toolgate.v1.LimiterService/CheckStream";
        let messages = (1..=GROUP).map(|id| {
            message(&CheckStreamRequest {
                id,
                check: Some(of_user("alice")),
                ..CheckStreamRequest::default()
            })
        });
        let messages = messages.collect::<Vec<_>>().concat();
        let said = [PREFACE, &call(1, path, &[]), &part(1, &messages)].concat();
        caller.write_all(&said).await.expect("sent");
        answer(&mut caller, 1).await.expect("answered");
        let counts = async || {
            let exposition = limiter.metrics().await.expect("metrics");
            let refused = "toolgate_check_errors_total{code=\"RESOURCE_EXHAUSTED\"}";
            (decided(&limiter).await, exposition.value(refused))
        };
        let (decided, refused) = eventually("all are answered", async || {
            let (decided, refused) = counts().await;
            (decided + refused == GROUP).then_some((decided, refused))
        })
        .await;
        // One or two may have come ahead of the others.
        assert!(decided >= at_a_time && refused > 0, "{bound}: {decided}");
    }
}

#[tokio::test]
async fn a_connection_that_takes_no_answer_is_closed() {
    let limiter = Limiter::of_spec(GENEROUS, &["--connections-unread-timeout", "500ms"]).await;
    let limiter = limiter.expect("a limiter");
    let quiet = limiter.client().await.expect("a connection");
    let silent = quiet.clone().check_stream(stream::pending()).await;
    let mut silent = silent.expect("a stream").into_inner();
    for mut answers in unread(&limiter, 2, 10).await {
        answers.message().await.expect_err("its connection is gone");
    }
    let next = tokio::time::timeout(Duration::from_secs(1), silent.message());
    next.await.expect_err("a quiet stream stays");
    check(&quiet, of_user("alice")).await.expect("decided");
}

/// Single calls have answers too.
#[tokio::test]
async fn a_connection_that_takes_no_answer_to_a_single_call_is_closed() {
    let limiter = Limiter::of_spec(GENEROUS, &["--connections-unread-timeout", "500ms"]).await;
    let limiter = limiter.expect("a limiter");
    let endpoint = Endpoint::from_shared(limiter.endpoint().to_owned()).expect("a URL");
    let endpoint = endpoint.initial_stream_window_size(0);
    let channel = endpoint.connect().await.expect("a connection");
    let client = LimiterServiceClient::new(channel);
    let refused = check(&client, of_user("mallory")).await;
    assert_ne!(refused.expect_err("closed").code(), Code::Ok);
}

/// 200 streams, each with all of a message but its end, kept 230 MB of messages of 1 MiB.
#[tokio::test]
async fn messages_that_never_end_cost_little_and_end_their_calls() {
    let mut limiter = Limiter::of_spec(GENEROUS, &["--connections-message-timeout", "2s"])
        .await
        .expect("a limiter");
    let honest = limiter.client().await.expect("a connection");
    check(&honest, of_user("alice")).await.expect("decided");
    let before = limiter.resident_bytes().expect("memory");
    let path = "/toolgate.v1.LimiterService/CheckStream";
    // A message of 16,128 bytes, whose end does not come.
    let half = [&[0, 0, 0, 0x3f, 0][..], &[0; 16_000]].concat();
    let mut attackers = Vec::new();
    for _ in 0..200 {
        let mut attacker = connect(&limiter).await;
        let said = [PREFACE, &call(1, path, &[]), &part(1, &half)].concat();
        attacker.write_all(&said).await.expect("sent");
        attackers.push(attacker);
    }
    for _ in 0..100 {
        check(&honest, of_user("alice")).await.expect("decided");
    }
    let after = limiter.resident_bytes().expect("memory");
    let grown = after.saturating_sub(before);
    println!("200 half messages of 16,000 bytes: {grown} bytes");
    assert!(grown < 40 << 20, "{grown} bytes");
    for attacker in &mut attackers {
        // Trailers in place of an answer, with the status DEADLINE_EXCEEDED.
        let trailers = answer(attacker, 1).await.expect_err("no answer");
        assert_eq!(trailers, HEADERS);
    }
    check(&honest, of_user("alice")).await.expect("decided");
}

/// A length beyond what a check can need is refused by itself, before there is a message.
#[tokio::test]
async fn a_message_beyond_what_a_check_needs_is_refused_by_its_length() {
    let limiter = Limiter::of_spec(GENEROUS, &["--connections-message-timeout", "10m"]).await;
    let limiter = limiter.expect("a limiter");
    let mut attacker = connect(&limiter).await;
    let begun = call(1, "/toolgate.v1.LimiterService/CheckStream", &[]);
    let head = part(1, &[0, 0, 0, 0x40, 1]);
    let said = [PREFACE, &begun, &head].concat();
    attacker.write_all(&said).await.expect("sent");
    assert_eq!(answer(&mut attacker, 1).await, Err(HEADERS));
}
