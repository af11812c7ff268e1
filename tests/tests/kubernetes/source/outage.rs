//! The API server is away, and comes back.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use tokio::time::Instant;
use tonic::Code;
use toolgate_tests::{Fault, FaultProxy};

use crate::stage::{LIMITER, Replica, Stage, crd, per_user};

const AWAY: &str = "the cluster's objects cannot be watched";

#[tokio::test]
async fn limits_stay_while_the_api_server_is_away_and_change_again_when_it_is_back() {
    let mut stage = Stage::alone(&crd().await).await;
    stage.apply(&per_user("research", 3)).await;
    let replica = stage.replica("only", &[]).await;
    let server = stage.server("research");
    replica.comes_to(&server, &[3]).await;

    stage.own_plane().stop_api_server().await.expect("stopped");
    replica.logs(AWAY).await;
    let checked = replica.check(&server, &["--user", "bob", "-n", "4"]).await;
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(said.contains("3 allowed, 1 denied"), "{said}");
    assert!(replica.is_ready().await);

    stage.own_plane().start_api_server().await.expect("started");
    let is_back = Instant::now();
    stage.apply(&per_user("research", 5)).await;
    stage.apply(&per_user("new", 6)).await;
    replica.comes_to(&server, &[5]).await;
    let enforced = is_back.elapsed();
    println!("the API server is ready again -> a change is enforced: {enforced:.1?}");
    replica.comes_to(&stage.server("new"), &[6]).await;
    stage
        .says("new", "1 of 1 replica enforces generation 1")
        .await;
}

#[tokio::test]
async fn what_happens_while_a_limiter_cannot_reach_the_api_server_is_seen_later() {
    let stage = Stage::new().await;
    for name in ["kept", "changed", "deleted"] {
        stage.apply(&per_user(name, 3)).await;
    }
    let proxy = FaultProxy::start(stage.plane.address()).await;
    let proxy = proxy.expect("a proxy");
    let replica = behind(proxy.address(), &stage).await;
    replica.becomes_ready().await;
    replica.comes_to(&stage.server("deleted"), &[3]).await;

    proxy.inject(Fault::Refuse);
    replica.logs(AWAY).await;
    stage.apply(&per_user("changed", 4)).await;
    stage.apply(&per_user("new", 5)).await;
    let delete = ["delete", "ratelimitpolicy", "deleted"];
    stage.kubectl(&delete).await;
    // Nothing of it can be known yet.
    for (name, capacities) in [("changed", &[3][..]), ("deleted", &[3]), ("new", &[])] {
        let now = replica.capacities(&stage.server(name)).await;
        assert_eq!(now.expect("an answer"), capacities, "{name}");
    }

    proxy.inject(Fault::None);
    let is_back = Instant::now();
    for (name, capacities) in [
        ("kept", &[3][..]),
        ("changed", &[4]),
        ("deleted", &[]),
        ("new", &[5]),
    ] {
        replica.comes_to(&stage.server(name), capacities).await;
    }
    let seen = is_back.elapsed();
    println!("the API server can be reached again -> all that happened is seen: {seen:.1?}");
}

#[tokio::test]
async fn a_limiter_that_starts_while_the_api_server_is_away_decides_nothing_until_it_is_there() {
    let stage = Stage::new().await;
    stage.apply(&per_user("research", 3)).await;
    let proxy = FaultProxy::start(stage.plane.address()).await;
    let proxy = proxy.expect("a proxy");
    proxy.inject(Fault::Refuse);
    let replica = behind(proxy.address(), &stage).await;
    replica.logs("the cluster's objects cannot be listed").await;
    let server = stage.server("research");
    assert_eq!(replica.get("/livez").await, 200);
    assert_eq!(replica.get("/readyz").await, 503);
    assert_eq!(replica.refusal(&server).await, Some(Code::Unavailable));
    let checked = replica.check(&server, &["--user", "alice"]).await;
    assert_eq!(checked.status.code(), Some(1), "{checked:?}");
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(said.contains("UNAVAILABLE"), "{said}");

    proxy.inject(Fault::None);
    let is_there = Instant::now();
    replica.becomes_ready().await;
    let ready = is_there.elapsed();
    println!("the API server can be reached -> a limiter that waited is ready: {ready:.1?}");
    // From the first moment on.
    let now = replica.capacities(&server).await;
    assert_eq!(now.expect("an answer"), [3]);
}

#[tokio::test]
async fn a_limiter_stops_though_the_api_server_has_fallen_silent() {
    let stage = Stage::new().await;
    let proxy = FaultProxy::start(stage.plane.address()).await;
    let proxy = proxy.expect("a proxy");
    let mut replica = behind(proxy.address(), &stage).await;
    replica.becomes_ready().await;
    proxy.inject(Fault::BlackHole);
    let signalled = replica.limiter.signal(Signal::SIGTERM);
    signalled.expect("it runs");
    let told = Instant::now();
    let status = replica.limiter.wait().await.expect("it ends");
    assert!(status.success(), "{status}");
    let ended = told.elapsed();
    println!("SIGTERM, and the API server is silent -> a limiter ends: {ended:.1?}");
}

/// A limiter of the namespace that reaches the API server by way of `address`.
async fn behind(address: SocketAddr, stage: &Stage) -> Replica {
    let kubeconfig = stage
        .plane
        .kubeconfig_via(address, &stage.namespace, LIMITER);
    let kubeconfig = kubeconfig.await.expect("a kubeconfig");
    Replica::start(&kubeconfig, &stage.namespace, "only", &[]).await
}
