//! Bodies that no honest client posts.

use serde_json::json;
use toolgate_tests::{Limiter, seeds};

use crate::{backend::Backend, caller::http, replica::Replica};

#[tokio::test]
async fn every_fuzz_seed_as_a_body_is_answered_and_leaves_the_gateway_serving() {
    let limiter = Limiter::of_spec("perUser: {maxTokens: 1000000, refillPeriod: 24h}", [""; 0]);
    let limiter = limiter.await.expect("a limiter");
    let backend = Backend::start().await;
    let replica = Replica::start(&format!(
        "incomingAuth: {{type: anonymous}}\nbackends: [{{name: a, url: '{}'}}]\n\
         limiter: {{endpoint: '{}', timeout: 30s, onUnavailable: deny}}\n",
        backend.url,
        limiter.endpoint(),
    ))
    .await;
    let caller = replica.anonymous();
    caller.until_listed("a_echo").await;

    let http = http();
    let mut statuses = [0; 2];
    for target in ["manifest", "grpc", "jsonrpc"] {
        for seed in seeds(target).expect("seeds") {
            let post = http
                .post(&replica.url)
                .header("accept", "application/json, text/event-stream")
                .header("content-type", "application/json")
                .body(seed.bytes);
            let answer = post.send().await.expect("an answer");
            let status = answer.status();
            answer.bytes().await.expect("a whole answer");
            assert!(!status.is_server_error(), "{}: {status}", seed.name);
            statuses[usize::from(status.is_client_error())] += 1;
        }
    }
    assert!(statuses.into_iter().all(|count| count > 0), "{statuses:?}");

    let before = backend.calls().await;
    let outcome = caller.call("a_echo", json!({"text": "hi"})).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    assert_eq!(backend.calls().await, before + 1);
}
