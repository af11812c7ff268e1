//! A caller that opens all it can leaves room for others.

use std::net::IpAddr;

use futures::{future::join_all, stream};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};
use toolgate_proto::pb::{CheckStreamRequest, limiter_service_client::LimiterServiceClient};
use toolgate_tests::{Limiter, eventually, of_user};

use crate::stage::{Stage, check};

const GENEROUS: &str = "perUser: {maxTokens: 1000000, refillPeriod: 24h}";

/// A connection from an address of its own.
async fn from(limiter: &Limiter, address: [u8; 4]) -> Option<LimiterServiceClient<Channel>> {
    let endpoint = Endpoint::from_shared(limiter.endpoint().to_owned()).expect("a URL");
    let endpoint = endpoint.local_address(Some(IpAddr::from(address)));
    let mut client = LimiterServiceClient::new(endpoint.connect().await.ok()?);
    // A connection that is closed is made, and then ends.
    let decided = client.check(of_user("mallory")).await;
    decided.is_ok().then_some(client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_all_connections_it_can_leaves_half_to_others() {
    let limiter = Limiter::of_spec(GENEROUS, &["--connections-max", "160"]).await;
    let limiter = limiter.expect("a limiter");
    let attack = (0..200).map(|_| from(&limiter, [127, 0, 0, 66]));
    let open = join_all(attack).await;
    let open: Vec<_> = open.into_iter().flatten().collect();
    assert_eq!(open.len(), 80);
    for address in [[127, 0, 0, 1], [127, 0, 0, 2]] {
        let honest = from(&limiter, address).await.expect("there is room");
        for _ in 0..100 {
            check(&honest, of_user("alice")).await.expect("decided");
        }
    }
    let closed = "toolgate_connections_closed_total{reason=\"caller_full\"}";
    let exposition = limiter.metrics().await.expect("metrics");
    // Those that were closed may have been tried again by their clients.
    assert!(exposition.value(closed) >= 120);
    assert!(from(&limiter, [127, 0, 0, 66]).await.is_none());
    drop(open);
    eventually("it has room again", async || {
        from(&limiter, [127, 0, 0, 66]).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_one_caller_beside_others_at_the_same_address() {
    let arguments = ["--connections-max", "160"];
    let stage = Stage::start_with(
        "",
        &arguments,
        &toolgate_tests::manifest("server", GENEROUS),
    )
    .await;
    let attacker = stage.authority.credentials(&["mallory.svc"]);
    let connect = || async {
        let mut client = LimiterServiceClient::new(stage.channel(Some(&attacker)).await.ok()?);
        let decided = client.check(of_user("mallory")).await;
        decided.is_ok().then_some(client)
    };
    let mut open = Vec::new();
    for _ in 0..85 {
        open.extend(connect().await);
    }
    assert_eq!(open.len(), 80);
    let honest = stage.client(&["alice.svc"]).await;
    for _ in 0..100 {
        check(&honest, of_user("alice")).await.expect("decided");
    }
}

/// Streams that say nothing are calls in flight.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_all_calls_it_can_leaves_half_to_others() {
    let arguments = [
        "--connections-max-calls",
        "200",
        "--connections-max-calls-per-caller",
        "100",
    ];
    let limiter = Limiter::of_spec(GENEROUS, &arguments)
        .await
        .expect("a limiter");
    let attacker = from(&limiter, [127, 0, 0, 66]).await.expect("a connection");
    let second = from(&limiter, [127, 0, 0, 66]).await.expect("a connection");
    let mut open = Vec::new();
    for client in [&attacker, &second] {
        for _ in 0..75 {
            let silent = stream::pending::<CheckStreamRequest>();
            open.push(client.clone().check_stream(silent).await);
        }
    }
    let refused = open.iter().filter_map(|answer| answer.as_ref().err());
    let refused: Vec<_> = refused.map(tonic::Status::code).collect();
    assert_eq!(refused, [Code::ResourceExhausted; 50]);
    let refused = check(&attacker, of_user("mallory")).await;
    let refused = refused.expect_err("one too many");
    assert!(refused.message().contains("of this caller"), "{refused:?}");
    let honest = from(&limiter, [127, 0, 0, 1]).await.expect("there is room");
    for _ in 0..100 {
        check(&honest, of_user("alice")).await.expect("decided");
    }
}
