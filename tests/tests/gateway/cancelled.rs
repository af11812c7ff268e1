//! Requests that their callers cancel on another connection.

use serde_json::{Value, json};
use toolgate_tests::eventually;

use crate::{caller::Caller, issuer::Issuer, modern::ModernBackend, replica::Replica};

fn cancel(id: &Value) -> Value {
    let params = json!({"requestId": id, "reason": "the user has lost patience"});
    json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
}

/// Only a hang-up cancelled, and clients that keep their connections do not hang up.
#[tokio::test]
async fn a_caller_cancels_its_own_request_at_the_backend_and_no_other() {
    let (issuer, backend) = tokio::join!(Issuer::start(), ModernBackend::start("private"));
    let replica = Replica::start(&format!(
        "
incomingAuth: {{type: oidc, oidc: {{issuer: '{}', audience: vmcp}}}}
backends: [{{name: a, url: 'http://{}/mcp', maxInFlight: 2}}]
",
        issuer.url, backend.address
    ))
    .await;
    let [alice, bob] =
        ["alice", "bob"].map(|name| Caller::new(&replica.url, Some(issuer.token(name))));
    alice.until_listed("a_wait").await;
    for id in [json!(7), json!("seven"), json!(7.5)] {
        for is_batch in [false, true] {
            let wait = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
                "params": {"name": "a_wait"}});
            let body = if is_batch {
                json!([wait])
            } else {
                wait.clone()
            };
            let of = |caller: &Caller, body: Value| {
                let caller = caller.clone();
                tokio::spawn(async move { caller.send(&body).await })
            };
            let (of_alice, of_bob) = (of(&alice, body), of(&bob, wait));
            eventually("both are there", async || {
                (backend.waiting() == 2).then_some(())
            })
            .await;
            // The slots are theirs.
            let full = alice.call("a_now", json!({})).await.expect_err("no slot");
            assert!(full.to_string().contains("in flight"), "{full}");

            for other in [json!(8), json!("7"), Value::Null] {
                alice.notify(&cancel(&other)).await;
            }
            assert!(!of_alice.is_finished() && !of_bob.is_finished());
            alice.notify(&cancel(&id)).await;
            let answer = of_alice.await.expect("answered");
            let answer = if is_batch { &answer[0] } else { &answer };
            assert!(
                answer["error"].is_object() && answer["id"] == id,
                "{answer}"
            );
            eventually("the backend is told", async || {
                (backend.waiting() == 1).then_some(())
            })
            .await;
            alice
                .call("a_now", json!({}))
                .await
                .expect("a slot is free");
            assert!(!of_bob.is_finished(), "bob's request has the same id");
            bob.notify(&cancel(&id)).await;
            let answer = of_bob.await.expect("answered");
            assert!(answer["error"].is_object(), "{answer}");
        }
    }
}

/// All are one user there, and clients choose the same ids.
#[tokio::test]
async fn where_callers_are_not_told_apart_none_cancels_a_request_of_another() {
    let backend = ModernBackend::start("private").await;
    let replica = Replica::start(&format!(
        "incomingAuth: {{type: anonymous}}\nbackends: [{{name: a, url: 'http://{}/mcp'}}]\n",
        backend.address
    ))
    .await;
    let [one, other] = [(); 2].map(|()| replica.anonymous());
    one.until_listed("a_wait").await;
    let wait = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "a_wait"}});
    let waits = tokio::spawn(async move { one.send(&wait).await });
    eventually("it is there", async || {
        (backend.waiting() == 1).then_some(())
    })
    .await;
    other.notify(&cancel(&json!(1))).await;
    other.call("a_now", json!({})).await.expect("a result");
    assert!(backend.waiting() == 1 && !waits.is_finished());
    waits.abort();
    eventually("it has hung up", async || {
        (backend.waiting() == 0).then_some(())
    })
    .await;
}
