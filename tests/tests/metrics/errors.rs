//! Errors: each check that gets one is counted once, by its gRPC code.

use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use toolgate_proto::pb::{
    CheckRequest, CheckStreamRequest, check_stream_response::Result as Outcome,
};
use toolgate_tests::{Fault, FaultProxy, Limiter, RedisServer, eventually, of_user};

use crate::{
    asks::{check, requests_of, stream},
    assert_counted,
    frames::call,
    scrape,
};

const ERRORS: &str = "toolgate_check_errors_total";
const DURATIONS: &str = "toolgate_check_duration_seconds_count";
const ALLOWED: &str =
    "{server=\"test/server\",decision=\"allowed\",scope=\"\",operation=\"server\"}";
const GENEROUS: &str = "perUser: {maxTokens: 1000, refillPeriod: 24h}";

/// A limiter whose Redis never answers, and that would wait for it as long as a test may take.
async fn in_silence(arguments: &[&str]) -> (Limiter, FaultProxy, RedisServer) {
    let redis = RedisServer::start().await.expect("Redis");
    let proxy = FaultProxy::start(redis.socket()).await.expect("a proxy");
    let store = format!("redis://{}", proxy.address());
    let mut all = vec!["--store", &store, "--store-timeout", "100s"];
    all.extend(["--outage", "unavailable"]);
    all.extend(arguments);
    let limiter = Limiter::of_spec(GENEROUS, all).await.expect("a limiter");
    eventually("Redis decides", async || {
        limiter.check(of_user("first")).await.ok()
    })
    .await;
    proxy.inject(Fault::BlackHole);
    (limiter, proxy, redis)
}

/// Waits until so many checks are being decided.
async fn until_in_flight(limiter: &Limiter, checks: u64) {
    eventually("checks are in flight", async || {
        let in_flight = scrape(limiter).await.value("toolgate_checks_in_flight");
        (in_flight >= checks).then_some(())
    })
    .await;
}

fn request(timeout: Option<Duration>) -> CheckStreamRequest {
    CheckStreamRequest {
        check: Some(of_user("alice")),
        timeout: timeout.map(|timeout| timeout.try_into().expect("a timeout")),
        ..CheckStreamRequest::default()
    }
}

#[tokio::test]
async fn wrong_checks_are_counted_whether_alone_or_on_a_stream() {
    let limiter = Limiter::of_spec(GENEROUS, [""; 0])
        .await
        .expect("a limiter");
    let mut client = limiter.client().await.expect("a connection");
    for _ in 0..2 {
        let wrong = client.check(CheckRequest::default()).await;
        assert_eq!(
            wrong.expect_err("it is wrong").code(),
            Code::InvalidArgument
        );
    }
    let wrong = || check("no server", "alice", None);
    let answers = stream(&limiter, [wrong(), of_user("alice"), wrong(), wrong()]).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 3);
    let none = CheckStreamRequest::default();
    requests_of(&limiter, [none]).await;

    let exposition = scrape(&limiter).await;
    assert_counted(&exposition, ERRORS, &[("{code=\"INVALID_ARGUMENT\"}", 6)]);
    assert_counted(&exposition, "toolgate_checks_total", &[(ALLOWED, 1)]);
}

#[tokio::test]
async fn a_store_that_is_full_is_counted_as_its_own_error_and_as_that_of_the_check() {
    let limiter = Limiter::of_spec(GENEROUS, ["--memory-max-users", "1"]).await;
    let limiter = limiter.expect("a limiter");
    let users = ["alice", "bob", "carol", "alice"];
    let answers = stream(&limiter, users.map(of_user)).await;
    let full = answers.iter().filter(|answer| answer.is_err());
    assert_eq!(full.count(), 2);
    let exposition = scrape(&limiter).await;
    assert_counted(&exposition, ERRORS, &[("{code=\"RESOURCE_EXHAUSTED\"}", 2)]);
    let store_errors = [("{kind=\"full\"}", 2)];
    assert_counted(&exposition, "toolgate_store_errors_total", &store_errors);
    assert_counted(&exposition, "toolgate_checks_total", &[(ALLOWED, 2)]);
}

#[tokio::test]
async fn a_call_beyond_the_bound_is_counted_and_so_is_each_check() {
    let arguments = ["--connections-max-calls", "1"];
    let limiter = Limiter::of_spec(GENEROUS, arguments).await;
    let limiter = limiter.expect("a limiter");
    let mut client = limiter.client().await.expect("a connection");
    let (_requests, checks) = mpsc::channel(1);
    let held = client.check_stream(ReceiverStream::new(checks)).await;
    let held = held.expect("a stream");
    let refused = client.check(of_user("alice")).await;
    assert_eq!(
        refused.expect_err("too many").code(),
        Code::ResourceExhausted
    );
    let exposition = scrape(&limiter).await;
    assert_counted(&exposition, ERRORS, &[("{code=\"RESOURCE_EXHAUSTED\"}", 1)]);
    assert_counted(&exposition, "toolgate_calls_in_flight", &[("", 1)]);
    assert_counted(&exposition, "toolgate_connections", &[("", 1)]);
    drop(held);
}

/// Checks beyond the bound are refused, and those in flight are given up by who has asked.
#[tokio::test]
async fn checks_beyond_the_bound_and_checks_that_are_given_up_are_counted() {
    let (limiter, _proxy, _redis) = in_silence(&["--max-in-flight", "3"]).await;
    let mut client = limiter.client().await.expect("a connection");
    let (requests, checks) = mpsc::channel(1);
    let replies = client.check_stream(ReceiverStream::new(checks)).await;
    let mut replies = replies.expect("a stream").into_inner();
    for sent in 1..=3 {
        requests.send(request(None)).await.expect("sent");
        until_in_flight(&limiter, sent).await;
    }
    requests.send(request(None)).await.expect("sent");
    let refused = replies.message().await.expect("a reply").expect("a reply");
    let Some(Outcome::Error(status)) = refused.result else {
        panic!("{refused:?}");
    };
    assert_eq!(Code::from(status.code), Code::ResourceExhausted);
    // So is a check of a call of its own.
    let mut other = limiter.client().await.expect("a connection");
    let refused = other.check(of_user("bob")).await;
    assert_eq!(
        refused.expect_err("too many").code(),
        Code::ResourceExhausted
    );
    drop((requests, replies, client));
    eventually("they are given up", async || {
        let exposition = scrape(&limiter).await;
        let in_flight = exposition.value("toolgate_checks_in_flight");
        (in_flight == 0).then_some(())
    })
    .await;
    let expected = [
        ("{code=\"CANCELLED\"}", 3),
        ("{code=\"RESOURCE_EXHAUSTED\"}", 2),
    ];
    assert_counted(&scrape(&limiter).await, ERRORS, &expected);
}

#[tokio::test]
async fn a_call_that_is_given_up_is_counted() {
    let (limiter, _proxy, _redis) = in_silence(&[]).await;
    let mut client = limiter.client().await.expect("a connection");
    {
        let mut call = Box::pin(client.check(of_user("alice")));
        assert!(call.as_mut().now_or_never().is_none());
        tokio::select! {
            answer = &mut call => panic!("{answer:?}"),
            () = until_in_flight(&limiter, 1) => {}
        }
    }
    eventually("it is given up", async || {
        let errors = scrape(&limiter).await;
        (errors.value("toolgate_check_errors_total{code=\"CANCELLED\"}") > 0).then_some(())
    })
    .await;
    let exposition = scrape(&limiter).await;
    assert_counted(&exposition, ERRORS, &[("{code=\"CANCELLED\"}", 1)]);
    assert_counted(&exposition, "toolgate_checks_total", &[(ALLOWED, 1)]);
    assert_counted(&exposition, DURATIONS, &[("", 2)]);
}

#[tokio::test]
async fn checks_whose_time_is_up_are_counted() {
    let (limiter, _proxy, _redis) = in_silence(&[]).await;
    let short = Some(Duration::from_millis(20));
    let answers = requests_of(&limiter, [request(short), request(short)]).await;
    assert_eq!(
        answers,
        [Err(Code::DeadlineExceeded), Err(Code::DeadlineExceeded)]
    );
    let exposition = scrape(&limiter).await;
    assert_counted(&exposition, ERRORS, &[("{code=\"DEADLINE_EXCEEDED\"}", 2)]);
    // With the first, which was decided.
    assert_counted(&exposition, DURATIONS, &[("", 3)]);
}

/// gRPC libraries end a call themselves when its time is up. Who waits on is told.
#[tokio::test]
async fn a_call_whose_time_is_up_is_counted_as_such() {
    let (limiter, _proxy, _redis) = in_silence(&[]).await;
    let _waits = call(&limiter, &of_user("alice"), "50m").await;
    let series = "toolgate_check_errors_total{code=\"DEADLINE_EXCEEDED\"}";
    eventually("it is answered", async || {
        (scrape(&limiter).await.value(series) > 0).then_some(())
    })
    .await;
    let exposition = scrape(&limiter).await;
    assert_counted(&exposition, ERRORS, &[("{code=\"DEADLINE_EXCEEDED\"}", 1)]);
    assert_counted(&exposition, "toolgate_checks_total", &[(ALLOWED, 1)]);
}
