//! Callers that have less patience than the client.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::future::join_all;
use tokio::time::timeout;
use toolgate_client::{
    BreakerConfig, BreakerState, Cause, Client, ClientConfig, FailOpen, OnUnavailable, Resolve,
    Verdict,
};
use toolgate_limit::Limiter as _;
use toolgate_tests::{FakeLimiter, Fault, FaultProxy, Manner, eventually};

use crate::load::{call, config, gateway, http, impatient};

const DECIDED: Verdict = Verdict::Allowed { decided: true };

/// None of these checks is waited for to its end, so none of them reports a failure.
#[tokio::test]
async fn a_silent_limiter_is_left_alone_though_all_callers_give_up_before_the_client_would() {
    let limiter = FakeLimiter::start(Manner::Allow);
    let gateway = gateway(impatient(&http(limiter.address())));
    eventually("connected", async || {
        (gateway.check(call()).await == DECIDED).then_some(())
    })
    .await;
    limiter.behave(Manner::Silent);
    eventually("the breaker opens", async || {
        let patience = Duration::from_millis(20);
        let _ = timeout(patience, gateway.check(call())).await;
        (gateway.counters().undecided(Cause::BreakerOpen) > 0).then_some(())
    })
    .await;
    assert_eq!(gateway.counters().undecided(Cause::Timeout), 0);
}

/// It may be anything that makes a caller give up; it is not the limiter's fault.
#[tokio::test]
async fn callers_that_give_up_on_a_limiter_that_answers_say_nothing_against_it() {
    let limiter = FakeLimiter::start(Manner::Allow);
    let gateway = gateway(impatient(&http(limiter.address())));
    eventually("connected", async || {
        (gateway.check(call()).await == DECIDED).then_some(())
    })
    .await;
    limiter.behave(Manner::Late(Duration::from_millis(40)));
    let asked = limiter.checks();
    eventually("many have been given up", async || {
        let _ = timeout(Duration::from_millis(20), gateway.check(call())).await;
        (limiter.checks() > asked + 50).then_some(())
    })
    .await;
    assert_eq!(
        gateway.limiter().replicas()[0].breaker,
        BreakerState::Closed
    );
}

/// Their transport tells each of them that the connection is lost.
#[tokio::test]
async fn a_connection_that_breaks_under_many_peeks_is_one_failure() {
    let limiter = FakeLimiter::start(Manner::Allow);
    let proxy = FaultProxy::start(limiter.address()).await.expect("a proxy");
    let settings = config(&http(proxy.address()));
    let client = Client::new(ClientConfig {
        breaker: BreakerConfig {
            failures: 2,
            ..settings.breaker
        },
        ..settings
    })
    .expect("valid settings");
    client.check(call()).await.expect("connected");
    limiter.behave(Manner::Silent);
    let asked = limiter.checks();
    let peeks = join_all((0..10).map(|_| client.peek(call())));
    let cut = async {
        eventually("all are on their way", async || {
            (limiter.checks() >= asked + 10).then_some(())
        })
        .await;
        proxy.inject(Fault::Refuse);
    };
    let (peeked, ()) = futures::join!(peeks, cut);
    for peek in peeked {
        let error = peek.expect_err("cut");
        assert_eq!(Cause::from(&error), Cause::ConnectionLost, "{error}");
    }
    assert_eq!(client.replicas()[0].breaker, BreakerState::Closed);
}

/// Panics when it is asked for the first time.
#[derive(Debug)]
struct Careless(SocketAddr, AtomicU32);

#[async_trait]
impl Resolve for Careless {
    async fn resolve(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        assert!(self.1.fetch_add(1, Ordering::SeqCst) > 0, "out of luck");
        Ok(vec![self.0])
    }
}

/// Its panic once ended the task that looks names up, and nobody was told.
#[tokio::test]
async fn a_resolver_that_panics_is_asked_again() {
    let limiter = FakeLimiter::start(Manner::Allow);
    let resolver = Careless(limiter.address(), AtomicU32::new(0));
    let client = Client::with_resolver(config("dns:///limiters.test:7070"), Arc::new(resolver));
    let gateway = FailOpen::new(client.expect("valid settings"), OnUnavailable::Allow);
    eventually("it is found after all", async || {
        (gateway.check(call()).await == DECIDED).then_some(())
    })
    .await;
}
