//! A limiter that is there and does not work. Nothing but a denial ever blocks a call.

use std::time::Duration;

use futures::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use tokio::time::Instant;
use tonic::Code;
use toolgate_client::{BreakerState, Cause, Client, ClientConfig, ConfigFault, Verdict};
use toolgate_limit::{Check, Limiter as _, LimiterError};
use toolgate_tests::{FakeLimiter, Fault, FaultProxy, Limiter, Manner, PATIENCE, eventually};

use crate::load::{Gateway, call, config, gateway, http, impatient};

const UNDECIDED: Verdict = Verdict::Allowed { decided: false };

fn breaker(gateway: &Gateway) -> BreakerState {
    gateway.limiter().replicas()[0].breaker
}

/// Waits until denials come, and no longer than if no check had waited.
async fn enforces(gateway: &Gateway) {
    eventually("the limiter is obeyed", async || {
        let verdict = gateway.check(call()).await;
        matches!(verdict, Verdict::Denied(_)).then_some(())
    })
    .await;
}

/// A limiter that behaves in this manner is soon left alone, blocks nothing, and is obeyed again
/// when it has recovered.
async fn survives(manner: Manner, settings: fn(&str) -> ClientConfig) {
    let limiter = FakeLimiter::start(Manner::Deny);
    let gateway = gateway(settings(&http(limiter.address())));
    enforces(&gateway).await;
    let (calls, checks) = (gateway.counters().denied(), limiter.checks());
    assert!(checks <= calls + gateway.counters().all_undecided());

    limiter.behave(manner);
    let mut failed = 0;
    while breaker(&gateway) == BreakerState::Closed {
        assert_eq!(gateway.check(call()).await, UNDECIDED, "{manner:?}");
        failed += 1;
        // Connections that end take a moment to come back, in which nobody is asked.
        tokio::task::yield_now().await;
    }
    assert!(failed >= 5, "{manner:?} opened the breaker after {failed}");

    // Far more than would fit in, were any of them to wait.
    let (asked, before) = (Instant::now(), limiter.checks());
    for _ in 0..1_000 {
        assert_eq!(gateway.check(call()).await, UNDECIDED, "{manner:?}");
    }
    assert!(asked.elapsed() < Duration::from_secs(20), "{manner:?}");
    let probes = u128::from(limiter.checks() - before);
    assert!(
        probes <= 1 + asked.elapsed().as_millis() / 150,
        "{manner:?}: {probes} probes"
    );

    limiter.behave(Manner::Deny);
    enforces(&gateway).await;
    assert_eq!(breaker(&gateway), BreakerState::Closed);
    assert_eq!(limiter.most_of_one_subject(), 1, "a check was sent again");
}

#[tokio::test]
async fn errors_in_the_stream_open_the_breaker() {
    for code in [
        Code::ResourceExhausted,
        Code::Internal,
        Code::Cancelled,
        Code::Unavailable,
        Code::Unauthenticated,
        Code::DeadlineExceeded,
    ] {
        survives(Manner::Error(code), config).await;
    }
}

#[tokio::test]
async fn streams_that_end_with_an_error_open_the_breaker() {
    for code in [Code::ResourceExhausted, Code::Internal, Code::Cancelled] {
        survives(Manner::End(code), config).await;
    }
}

#[tokio::test]
async fn answers_that_cannot_be_read_open_the_breaker() {
    survives(Manner::Malformed, config).await;
}

#[tokio::test]
async fn silence_opens_the_breaker() {
    survives(Manner::Silent, impatient).await;
    survives(Manner::WrongId, impatient).await;
}

#[tokio::test]
async fn a_rejected_check_says_nothing_against_the_limiter() {
    let limiter = FakeLimiter::start(Manner::Deny);
    let gateway = gateway(config(&http(limiter.address())));
    enforces(&gateway).await;
    for code in [Code::InvalidArgument, Code::PermissionDenied] {
        limiter.behave(Manner::Error(code));
        for _ in 0..20 {
            assert_eq!(gateway.check(call()).await, UNDECIDED);
        }
    }
    assert_eq!(gateway.counters().undecided(Cause::Rejected), 40);
    for fault in [ConfigFault::InvalidArgument, ConfigFault::PermissionDenied] {
        assert_eq!(gateway.limiter().config_faults(fault), 20);
    }
    assert_eq!(breaker(&gateway), BreakerState::Closed);
}

/// A mistyped name ran unlimited, and looked like a server whose policy has no limit for the call.
#[tokio::test]
async fn a_server_that_no_policy_names_is_told_from_one_without_a_limit_for_the_call() {
    let spec = "tools: [{name: search, global: {maxTokens: 5, refillPeriod: 24h}}]";
    let limiter = Limiter::of_spec(spec, [""; 0]).await.expect("a limiter");
    let gateway = gateway(config(limiter.endpoint()));
    let decided = Verdict::Allowed { decided: true };
    eventually("the limiter decides", async || {
        (gateway.check(call()).await == decided).then_some(())
    })
    .await;
    assert_eq!(gateway.unnamed(), 0, "it has a policy");
    let mistyped = || Check {
        server: "test/sever".parse().expect("valid"),
        ..call()
    };
    assert_eq!(gateway.check(mistyped()).await, decided);
    assert_eq!(gateway.peek(mistyped()).await, decided);
    assert_eq!(gateway.unnamed(), 2);
}

#[tokio::test]
async fn a_denial_says_which_limit_and_how_long_to_wait() {
    let limiter = FakeLimiter::start(Manner::Deny);
    let gateway = gateway(config(&http(limiter.address())));
    for verdict in [gateway.check(call()).await, gateway.peek(call()).await] {
        let Verdict::Denied(denial) = verdict else {
            panic!("not denied: {verdict:?}");
        };
        let text = "10 calls per 1m10s per user of server test/server; retry in 7s";
        assert_eq!(denial.to_string(), text);
    }
    limiter.behave(Manner::Allow);
    let allowed = Verdict::Allowed { decided: true };
    assert_eq!(gateway.check(call()).await, allowed);
    assert_eq!(gateway.peek(call()).await, allowed);
    limiter.behave(Manner::Error(Code::Internal));
    assert_eq!(gateway.peek(call()).await, UNDECIDED);
}

/// The late answers are denials, which must reach nobody.
#[tokio::test]
async fn late_answers_are_dropped_and_leave_nothing_behind() {
    let limiter = FakeLimiter::start(Manner::Allow);
    let settings = ClientConfig {
        timeout: Duration::from_millis(400),
        breaker: toolgate_client::BreakerConfig {
            failures: 1_000,
            ..config("unix:///unused").breaker
        },
        ..config(&http(limiter.address()))
    };
    let gateway = gateway(settings);
    let decided = Verdict::Allowed { decided: true };
    eventually("connected", async || {
        (gateway.check(call()).await == decided).then_some(())
    })
    .await;
    limiter.behave(Manner::Late(Duration::from_millis(500)));
    for verdict in join_all((0..50).map(|_| gateway.check(call()))).await {
        assert_eq!(verdict, UNDECIDED);
    }
    assert_eq!(gateway.counters().undecided(Cause::Timeout), 50);
    assert_eq!(gateway.limiter().replicas()[0].in_flight, 0);
    limiter.behave(Manner::Allow);
    // While the late answers come.
    for _ in 0..50 {
        assert_eq!(gateway.check(call()).await, decided);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let told = limiter.patience();
    assert!(
        told <= Duration::from_millis(400) && told > Duration::from_millis(200),
        "{told:?}"
    );
}

#[tokio::test]
async fn more_checks_in_flight_than_may_be_fail_at_once() {
    let limiter = FakeLimiter::start(Manner::Allow);
    let client = Client::new(ClientConfig {
        max_in_flight: 4,
        ..config(&http(limiter.address()))
    })
    .expect("valid settings");
    client.check(call()).await.expect("connected");
    limiter.behave(Manner::Silent);
    let mut checks: FuturesUnordered<_> = (0..10).map(|_| client.check(call())).collect();
    for _ in 0..6 {
        let error = checks
            .next()
            .await
            .expect("ten were sent")
            .expect_err("full");
        assert!(
            matches!(error, LimiterError::Overloaded { max: 4 }),
            "{error}"
        );
    }
    assert_eq!(client.replicas()[0].in_flight, 4);
    // Callers that have gone leave their places.
    drop(checks);
    assert_eq!(client.replicas()[0].in_flight, 0);
    limiter.behave(Manner::Allow);
    client.check(call()).await.expect("there is room");
}

#[tokio::test]
async fn nobody_waits_for_a_limiter_that_was_never_there() {
    let closed = FakeLimiter::start(Manner::Deny);
    let endpoint = http(closed.address());
    drop(closed);
    for endpoint in [&endpoint, "unix:///nowhere/toolgate.sock"] {
        let gateway = gateway(config(endpoint));
        for _ in 0..100 {
            assert_eq!(gateway.check(call()).await, UNDECIDED);
        }
        assert_eq!(gateway.counters().undecided(Cause::Unreachable), 100);
    }
}

/// The first attempt is waited for, by no check for longer than its deadline, and by few.
#[tokio::test]
async fn few_wait_for_a_limiter_that_accepts_and_never_answers() {
    for fault in [Fault::BlackHole, Fault::Garbage, Fault::Refuse] {
        let limiter = FakeLimiter::start(Manner::Deny);
        let proxy = FaultProxy::start(limiter.address()).await.expect("a proxy");
        proxy.inject(fault);
        let gateway = gateway(ClientConfig {
            timeout: Duration::from_millis(500),
            ..config(&http(proxy.address()))
        });
        let asked = Instant::now();
        for _ in 0..200 {
            assert_eq!(gateway.check(call()).await, UNDECIDED, "{fault:?}");
        }
        assert!(asked.elapsed() < Duration::from_secs(20), "{fault:?}");
        proxy.inject(Fault::None);
        enforces(&gateway).await;
    }
}

/// The same to a connection that has worked.
#[tokio::test]
async fn a_connection_that_goes_bad_is_made_anew() {
    let limiter = FakeLimiter::start(Manner::Deny);
    let proxy = FaultProxy::start(limiter.address()).await.expect("a proxy");
    let gateway = gateway(impatient(&http(proxy.address())));
    enforces(&gateway).await;
    for fault in [Fault::BlackHole, Fault::Garbage, Fault::Refuse] {
        proxy.inject(fault);
        let asked = Instant::now();
        for _ in 0..500 {
            let verdict = gateway.check(call()).await;
            // The last answers may be on their way yet.
            assert_ne!(verdict, Verdict::Allowed { decided: true }, "{fault:?}");
        }
        assert!(asked.elapsed() < Duration::from_secs(20), "{fault:?}");
        assert_eq!(gateway.check(call()).await, UNDECIDED, "{fault:?}");
        proxy.inject(Fault::None);
        enforces(&gateway).await;
    }
    assert!(proxy.accepted() > 3);
    closes_to(&proxy, 1).await;
    drop(gateway);
    closes_to(&proxy, 0).await;
}

/// Load balancers close idle connections, and limiters end old ones. That once opened the breaker.
#[tokio::test]
async fn an_idle_connection_that_is_closed_again_and_again_is_no_failure() {
    let limiter = FakeLimiter::start(Manner::Deny);
    let proxy = FaultProxy::start(limiter.address()).await.expect("a proxy");
    let gateway = gateway(config(&http(proxy.address())));
    enforces(&gateway).await;
    for _ in 0..7 {
        let accepted = proxy.accepted();
        proxy.inject(Fault::Refuse);
        closes_to(&proxy, 0).await;
        proxy.inject(Fault::None);
        eventually("it is connected again", async || {
            let again = proxy.accepted() > accepted;
            (again && gateway.limiter().replicas()[0].connected).then_some(())
        })
        .await;
    }
    assert_eq!(
        gateway.limiter().replicas()[0].breaker,
        BreakerState::Closed
    );
    let verdict = gateway.check(call()).await;
    assert!(matches!(verdict, Verdict::Denied(_)), "{verdict:?}");
}

async fn closes_to(proxy: &FaultProxy, open: usize) {
    eventually("all other connections are closed", async || {
        (proxy.open() == open).then_some(())
    })
    .await;
}

/// With no check on its way only the connection itself can tell.
#[tokio::test]
async fn an_idle_connection_that_leads_nowhere_is_found_out() {
    let limiter = FakeLimiter::start(Manner::Deny);
    let proxy = FaultProxy::start(limiter.address()).await.expect("a proxy");
    let gateway = gateway(ClientConfig {
        keep_alive: Duration::from_millis(50),
        connect_timeout: Duration::from_millis(500),
        ..config(&http(proxy.address()))
    });
    enforces(&gateway).await;
    proxy.inject(Fault::BlackHole);
    eventually("the connection is given up", async || {
        (!gateway.limiter().replicas()[0].connected).then_some(())
    })
    .await;
    assert!(
        PATIENCE > Duration::from_secs(20),
        "or a check would have told"
    );
    assert_eq!(gateway.check(call()).await, UNDECIDED);
}
