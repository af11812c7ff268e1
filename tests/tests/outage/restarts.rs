//! Limiters that stop in good order, under load: nothing is lost and nothing admitted twice.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use nix::sys::signal::Signal;
use tokio::time::Instant;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use toolgate_client::{Client, FailOpen, OnUnavailable};
use toolgate_limit::{Check, Identity};
use toolgate_proto::pb::Decision;
use toolgate_tests::{
    Limiter, Load, Names, PolicyFile, RedisServer, client_config, eventually, of_user,
};

const TOKENS: u64 = 20_000;

const CALLERS: usize = 16;

/// Seen from the client, by `dns:///` with short looks at the name: a replica stops, another one
/// has taken its place, twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_fails_no_check_and_admits_none_too_many() {
    let spec = format!("global: {{maxTokens: {TOKENS}, refillPeriod: 8784h}}");
    let policies = PolicyFile::of_spec(&spec).expect("a policy");
    let redis = RedisServer::start().await.expect("Redis");
    let store = redis.url();
    let arguments = ["--store", &store, "--store-timeout", "20s"];
    let start = async || {
        let limiter = Limiter::start(&policies.path(), &arguments).await;
        let limiter = limiter.expect("a limiter");
        let address = limiter.endpoint().strip_prefix("http://").expect("TCP");
        let address: SocketAddr = address.parse().expect("an address");
        (limiter, address)
    };
    let ((mut first, first_at), (mut second, second_at)) = (start().await, start().await);
    let names = Names::at(&[first_at, second_at]);
    let config = client_config(Names::ENDPOINT);
    let client = Client::with_resolver(config, Arc::new(names.clone())).expect("valid");
    let gateway = Arc::new(FailOpen::new(client, OnUnavailable::Allow));
    let connected_to = async |addresses: &[SocketAddr]| {
        eventually("the client is connected", async || {
            let replicas = gateway.limiter().replicas();
            let connected = |address: &SocketAddr| {
                let of = |endpoint: &str| endpoint.ends_with(&address.to_string());
                (replicas.iter()).any(|replica| of(&replica.endpoint) && replica.connected)
            };
            (replicas.len() == addresses.len() && addresses.iter().all(connected)).then_some(())
        })
        .await;
    };
    connected_to(&[first_at, second_at]).await;
    let calls = {
        let gateway = Arc::clone(&gateway);
        Load::start(CALLERS, move || {
            let gateway = Arc::clone(&gateway);
            async move {
                gateway
                    .check(Check {
                        server: "test/server".parse().expect("valid"),
                        identity: Identity::anonymous(),
                        operation: None,
                        cost: Check::COST_OF_ONE,
                        trace: None,
                    })
                    .await
            }
        })
    };
    let decided = async |more: u64| {
        let enough = calls.answers() + usize::try_from(more).expect("fits");
        eventually("calls are decided", async || {
            (calls.answers() >= enough).then_some(())
        })
        .await;
    };
    decided(TOKENS / 20).await;
    // As a Deployment does it: the new one is there before the old one goes.
    let (mut third, third_at) = start().await;
    names.lead_to(&[first_at, second_at, third_at]);
    connected_to(&[first_at, second_at, third_at]).await;
    stop(&mut first).await;
    names.lead_to(&[second_at, third_at]);
    connected_to(&[second_at, third_at]).await;
    decided(TOKENS / 20).await;
    let (_fourth, fourth_at) = start().await;
    names.lead_to(&[second_at, third_at, fourth_at]);
    connected_to(&[second_at, third_at, fourth_at]).await;
    stop(&mut second).await;
    names.lead_to(&[third_at, fourth_at]);
    connected_to(&[third_at, fourth_at]).await;
    decided(TOKENS / 20).await;
    eventually("the limit is reached", async || {
        (gateway.counters().denied() > 100).then_some(())
    })
    .await;
    calls.end().await;
    third.signal(Signal::SIGTERM).expect("told to stop");

    let counters = gateway.counters();
    let (allowed, undecided) = (counters.allowed(), counters.all_undecided());
    println!("rolling restart: {allowed} of {TOKENS} allowed, {undecided} undecided");
    assert_eq!(undecided, 0, "no failed check");
    assert_eq!(allowed, TOKENS, "no over-admission");
}

async fn stop(limiter: &mut Limiter) {
    limiter.signal(Signal::SIGTERM).expect("told to stop");
    assert!(limiter.wait().await.expect("ended").success());
}

/// What was paid was answered, even when the connection ended under the callers.
#[tokio::test(flavor = "multi_thread")]
async fn on_sigterm_under_load_whoever_has_paid_is_answered_and_the_exit_is_clean() {
    let spec = "perUser: {maxTokens: 1, refillPeriod: 24h}";
    let redis = RedisServer::start().await.expect("Redis");
    let arguments = ["--store", &redis.url(), "--store-timeout", "20s"];
    let limiter = Limiter::of_spec(spec, arguments).await;
    let mut limiter = limiter.expect("a limiter");
    let mut watch = HealthClient::new(limiter.channel().await.expect("a connection"));
    let watch = watch.watch(HealthCheckRequest::default()).await;
    let mut watch = watch.expect("a watch").into_inner();

    let client = limiter.client().await.expect("a connection");
    let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let calls = Load::start(64, move || {
        let mut client = client.clone();
        let user = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move {
            let answer = client.check(of_user(&format!("user-{user}"))).await;
            answer.map(|answer| answer.into_inner().decision())
        }
    });
    eventually("calls are answered", async || {
        (calls.answers() > 1_000).then_some(())
    })
    .await;
    limiter.signal(Signal::SIGTERM).expect("told to stop");
    let told = Instant::now();
    let mut last = None;
    while let Ok(Some(reply)) = watch.message().await {
        last = Some(reply.status());
    }
    let health = told.elapsed();
    assert_eq!(last, Some(ServingStatus::NotServing));
    let exit = limiter.wait().await.expect("ended");
    println!(
        "SIGTERM under load: health after {health:?}, end after {:?}",
        told.elapsed()
    );
    assert!(exit.success(), "{exit}");
    assert!(told.elapsed() < Duration::from_secs(10), "the grace time");

    let answers = calls.end().await;
    let allowed = answers
        .iter()
        .filter(|answer| matches!(answer, Ok(Decision::Allowed)));
    let mut connection = redis.connection().await.expect("a connection");
    let keys = redis::cmd("KEYS").arg("tg:*user-*").to_owned();
    let paid: Vec<String> = keys.query_async(&mut connection).await.expect("keys");
    assert_eq!(
        allowed.count(),
        paid.len(),
        "of those who have paid each was answered"
    );
}
