//! A limiter that is there and does not work, and a real `vmcp`: nothing but a denial blocks a call.

use futures::future::join_all;
use serde_json::json;
use tonic::Code;
use toolgate_tests::{FakeLimiter, Fault, FaultProxy, Manner, eventually};

use crate::{
    backend::Backend,
    caller::{Caller, is_denied},
    replica::Replica,
};

const CALLS: usize = 50;

async fn is_denied_soon(caller: &Caller) {
    eventually("denials come through", async || {
        let outcome = caller.call("a_echo", json!({})).await;
        is_denied(&outcome).then_some(())
    })
    .await;
}

/// A replica that asks the limiter at `endpoint` is denied calls; under the fault all calls reach
/// the backend; and when it is over they are denied again.
async fn only_denials_block(
    what: &str,
    endpoint: &str,
    fail: impl FnOnce(),
    recover: impl FnOnce(),
) {
    let backend = Backend::start().await;
    let yaml = format!(
        "
incomingAuth: {{type: anonymous}}
backends: [{{name: a, url: '{}'}}]
limiter: {{endpoint: '{endpoint}', timeout: 300ms, rememberDenials: 0s}}
",
        backend.url
    );
    let replica = Replica::start(&yaml).await;
    let caller = replica.anonymous();
    is_denied_soon(&caller).await;

    fail();
    // Calls before may have passed while the limiter was not connected yet.
    let before = backend.calls().await;
    for _ in 0..CALLS {
        let outcome = caller.call("a_echo", json!({})).await;
        assert!(outcome.is_ok(), "{what}: {outcome:?}");
    }
    assert_eq!(backend.calls().await - before, CALLS, "{what}");
    recover();
    is_denied_soon(&caller).await;
}

async fn in_this_manner(manner: Manner) {
    let limiter = FakeLimiter::start(Manner::Deny);
    let endpoint = format!("http://{}", limiter.address());
    let (fail, recover) = (|| limiter.behave(manner), || limiter.behave(Manner::Deny));
    only_denials_block(&format!("{manner:?}"), &endpoint, fail, recover).await;
}

#[tokio::test]
async fn errors_of_the_limiter_block_nothing() {
    let codes = [Code::ResourceExhausted, Code::Internal, Code::Cancelled];
    join_all(codes.map(|code| in_this_manner(Manner::Error(code)))).await;
}

#[tokio::test]
async fn streams_that_end_with_an_error_block_nothing() {
    let codes = [Code::ResourceExhausted, Code::Internal, Code::Cancelled];
    join_all(codes.map(|code| in_this_manner(Manner::End(code)))).await;
}

#[tokio::test]
async fn a_limiter_that_answers_nothing_or_nonsense_blocks_nothing() {
    let manners = [Manner::Silent, Manner::Malformed, Manner::WrongId];
    join_all(manners.map(in_this_manner)).await;
}

/// What answers is no limiter at all, or nobody.
#[tokio::test]
async fn a_limiters_address_that_takes_connections_and_talks_nonsense_or_nothing_blocks_nothing() {
    let on_the_wire = async |fault| {
        let limiter = FakeLimiter::start(Manner::Deny);
        let proxy = FaultProxy::start(limiter.address()).await.expect("a proxy");
        let endpoint = format!("http://{}", proxy.address());
        // Connections that were there are cut first, so that the fault meets new ones too.
        let fail = || {
            proxy.inject(Fault::Refuse);
            proxy.inject(fault);
        };
        let recover = || proxy.inject(Fault::None);
        only_denials_block(&format!("{fault:?}"), &endpoint, fail, recover).await;
    };
    join_all([Fault::BlackHole, Fault::Garbage, Fault::Refuse].map(on_the_wire)).await;
}
