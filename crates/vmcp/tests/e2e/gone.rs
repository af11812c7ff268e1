//! Callers that hang up.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::Ordering},
};

use async_trait::async_trait;
use rmcp::model::CallToolRequestParams;
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use toolgate_client::OnUnavailable;
use toolgate_limit::{Answer, Check, Identity, Limiter, LimiterError};
use vmcp::{Gate, VmcpError, core::Core, rate_limited};

use crate::{
    backend::{over_http, url},
    modern::ModernBackend,
    odd::OddBackend,
    replica::Replica,
    wait::{settled, until},
};

/// A replica with one slot for calls of `backend`.
async fn replica(backend: SocketAddr) -> Replica {
    Replica::start(&format!(
        "
incomingAuth: {{type: anonymous}}
backends: [{{name: a, url: '{}', maxInFlight: 1}}]
",
        url(backend)
    ))
    .await
}

/// A POST to MCP whose answer nobody has read yet.
async fn post(to: SocketAddr, version: &str, body: &serde_json::Value) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let body = body.to_string();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\naccept: application/json, text/event-stream\r\n\
         content-type: application/json\r\nmcp-protocol-version: {version}\r\n\
         mcp-method: tools/call\r\nmcp-name: a_wait\r\ncontent-length: {}\r\n\r\n",
        body.len(),
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    stream
}

fn wait_call() -> serde_json::Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "a_wait"}})
}

fn modern_wait_call() -> serde_json::Value {
    let mut call = wait_call();
    call["params"]["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    call
}

/// They went on running, and held their slots for up to a minute: three of three for 19.6 s.
#[tokio::test]
async fn a_caller_that_hangs_up_is_cancelled_at_the_backend_and_leaves_its_slot() {
    let backend = OddBackend::start().await;
    let replica = replica(backend.address).await;
    let client = replica.client().await;
    for (n, (version, body)) in [
        ("2025-03-26", wait_call()),
        ("2025-03-26", json!([wait_call()])),
        ("2025-11-25", wait_call()),
        ("2026-07-28", modern_wait_call()),
    ]
    .into_iter()
    .enumerate()
    {
        let stream = post(replica.address, version, &body).await;
        until("the call is at the backend", async || {
            backend.seen.lock().unwrap().len() == 2 * n + 1
        })
        .await;
        let full = client.call_tool(CallToolRequestParams::new("a_echo"));
        let full = full.await.unwrap_err().to_string();
        assert!(full.contains("1 requests to it are in flight"), "{full}");
        drop(stream);
        until("the backend is told", async || {
            backend.cancelled.load(Ordering::SeqCst) == n + 1
        })
        .await;
        let free = client.call_tool(CallToolRequestParams::new("a_echo"));
        free.await.unwrap();
    }
    let metrics = reqwest::get(format!("http://{}/metrics", replica.address));
    let metrics = metrics.await.unwrap().text().await.unwrap();
    for line in [
        r#"vmcp_requests_total{method="tools/call",outcome="cancelled"} 4"#,
        r#"vmcp_backend_requests_total{backend="a",outcome="cancelled"} 4"#,
    ] {
        assert!(metrics.lines().any(|is| is == line), "{line}\n{metrics}");
    }
}

/// A backend of protocol 2026-07-28 learns it by the connection: there is no other way.
#[tokio::test]
async fn a_modern_backend_is_hung_up_on_too() {
    let backend = ModernBackend::start("private").await;
    let replica = replica(backend.address).await;
    let client = replica.client().await;
    until("its tools are listed", async || {
        !client.list_all_tools().await.unwrap().is_empty()
    })
    .await;
    let stream = post(replica.address, "2026-07-28", &modern_wait_call()).await;
    until("the call is there", async || backend.waiting() == 1).await;
    drop(stream);
    until("it has gone", async || backend.waiting() == 0).await;
    let free = client.call_tool(CallToolRequestParams::new("a_now"));
    free.await.unwrap();
}

/// Allows all, and notes whose calls have paid.
#[derive(Debug, Default)]
struct Paid(Mutex<Vec<String>>);

#[async_trait]
impl Limiter for Paid {
    async fn check(&self, check: Check) -> Result<Answer, LimiterError> {
        let subject = check.identity.subject().unwrap().to_owned();
        self.0.lock().unwrap().push(subject);
        Ok(Answer::unlimited())
    }

    async fn peek(&self, _: Check) -> Result<Answer, LimiterError> {
        unreachable!("nothing here peeks")
    }
}

/// Calls that were refused for want of a slot had paid, and three users took all slots.
#[tokio::test]
async fn one_user_cannot_take_all_slots_and_what_is_refused_has_not_paid() {
    let backend = OddBackend::start().await;
    let mut settings = over_http("a", url(backend.address));
    (
        settings.timing.max_in_flight,
        settings.timing.max_in_flight_per_user,
    ) = (3, 2);
    let core = Core::start(vec![settings]);
    settled(&core).await;
    let paid = Arc::new(Paid::default());
    let gate = Gate::new("a/b".parse().unwrap(), paid.clone(), OnUnavailable::Deny);
    let vmcp = rate_limited(core, Some(gate));
    let call = async |user: &str, tool: &'static str| {
        let user = Identity::new(user).unwrap();
        let call = CallToolRequestParams::new(tool);
        vmcp.call_tool(&user, call).await
    };

    let waiting = async { tokio::join!(call("alice", "a_wait"), call("alice", "a_wait")) };
    let meanwhile = async {
        until("both are there", async || {
            backend.seen.lock().unwrap().len() == 2
        })
        .await;
        let refused = call("alice", "a_echo").await.unwrap_err();
        let reason = "not sent, as 2 requests of this caller to it are in flight";
        assert!(
            matches!(&refused, VmcpError::Failed { reason: is, .. } if is == reason),
            "{refused}"
        );
        call("bob", "a_echo").await.unwrap();
        let third = async {
            tokio::join!(call("bob", "a_wait"), async {
                until("bob's is there", async || {
                    backend.seen.lock().unwrap().len() == 4
                })
                .await;
                let refused = call("carol", "a_echo").await.unwrap_err();
                assert!(
                    refused.to_string().contains("3 requests to it"),
                    "{refused}"
                );
                backend.release.add_permits(3);
            })
        };
        third.await.0.unwrap();
    };
    let ((one, other), ()) = tokio::join!(waiting, meanwhile);
    one.unwrap();
    other.unwrap();
    assert_eq!(*paid.0.lock().unwrap(), ["alice", "alice", "bob", "bob"]);
    call("carol", "a_echo").await.unwrap();
}
