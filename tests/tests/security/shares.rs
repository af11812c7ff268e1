//! What one connection holds is its own share, and nobody else's.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use tonic::{Code, Streaming, transport::Endpoint};
use toolgate_proto::pb::{
    CheckStreamRequest, CheckStreamResponse, limiter_service_client::LimiterServiceClient,
};
use toolgate_tests::{Limiter, eventually, of_user};

use crate::stage::check;

const GENEROUS: &str = "perUser: {maxTokens: 1000000, refillPeriod: 24h}";

/// Checks that one connection may leave unread, by default: a quarter of 10,000.
const SHARE: u64 = 2_500;

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

async fn decided(limiter: &Limiter) -> u64 {
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
    assert!(
        (SHARE..SHARE + GROUP).contains(&of_attacker),
        "{of_attacker} of 40960"
    );
    drop(attacker);
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
