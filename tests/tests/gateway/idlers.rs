//! Connections that do no work, as many as there may be.

use std::time::Duration;

use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};

use crate::{
    backend::Backend,
    issuer::Issuer,
    replica::Replica,
    wire::{LIVEZ, answer, call, post, says},
};

/// Far below the time that an idle connection is kept for.
const SOON: Duration = Duration::from_secs(20);

struct Gateway {
    replica: Replica,
    token: String,
    _parts: (Issuer, Backend),
}

impl Gateway {
    async fn start(rest: &str) -> Self {
        let (issuer, backend) = tokio::join!(Issuer::start(), Backend::start());
        let replica = Replica::start(&format!(
            "
incomingAuth: {{type: oidc, oidc: {{issuer: '{}', audience: vmcp}}}}
backends: [{{name: a, url: '{}'}}]
{rest}
",
            issuer.url, backend.url
        ))
        .await;
        let gateway = Self {
            token: issuer.token("alice"),
            replica,
            _parts: (issuer, backend),
        };
        let alice = crate::caller::Caller::new(&gateway.replica.url, Some(gateway.token.clone()));
        alice.until_listed("a_echo").await;
        gateway
    }

    /// Calls a tool on a connection that is there.
    async fn call_on(&self, stream: &mut TcpStream) {
        let sent = stream.write_all(&call(&self.token, "a_echo")).await;
        sent.expect("the connection is open");
        let answered = timeout(SOON, answer(stream)).await.expect("in time");
        let (status, said) = answered.expect("an answer");
        assert!(status == 200 && said.contains("echo"), "{said}");
    }
}

/// 1,024 connections that asked for `/livez` every 75 s kept everybody out. Each that is closed comes
/// again here.
async fn idlers_keep_nobody_out(rest: &str, count: usize) {
    let gateway = Gateway::start(rest).await;
    let mut alice = says(&gateway.replica, b"").await;
    gateway.call_on(&mut alice).await;
    let mut idlers = Vec::new();
    let (mut answered, mut closed) = (0, 0);
    for round in 0..3 {
        for number in 0..count {
            if round == 0 {
                idlers.push(says(&gateway.replica, LIVEZ).await);
            } else if idlers[number].write_all(LIVEZ).await.is_err() {
                idlers[number] = says(&gateway.replica, LIVEZ).await;
            }
            let idler = &mut idlers[number];
            if let Some((status, _)) = timeout(SOON, answer(idler)).await.expect("in time") {
                assert_eq!(status, 200);
                answered += 1;
            } else {
                closed += 1;
                *idler = says(&gateway.replica, LIVEZ).await;
            }
        }
        // Who has worked keeps the connection, and others get one.
        gateway.call_on(&mut alice).await;
        let mut bob = says(&gateway.replica, b"").await;
        gateway.call_on(&mut bob).await;
    }
    println!("{count} idlers: {answered} probes answered, {closed} connections closed");
    assert!(answered >= count && closed > 0, "{answered}, {closed}");
}

#[tokio::test]
async fn connections_that_only_probe_keep_nobody_out() {
    idlers_keep_nobody_out("maxConnections: 8", 8).await;
}

#[tokio::test]
async fn as_many_probing_connections_as_there_may_be_by_default_keep_nobody_out() {
    idlers_keep_nobody_out("", 1_024).await;
}

/// Whatever came to `/mcp` with a token counted as work, an answer of 405 or 406 too.
#[tokio::test]
async fn only_an_mcp_request_that_was_answered_keeps_a_connection() {
    let gateway = Gateway::start("maxConnections: 4").await;
    let token = &gateway.token;
    let mut alice = says(&gateway.replica, b"").await;
    gateway.call_on(&mut alice).await;
    let get =
        format!("GET /mcp HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n");
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let mut others = Vec::new();
    for (request, status) in [
        (get.into_bytes(), 405),
        (post(token, "accept: text/html\r\n", body), 406),
        (post("nobody", "", body), 401),
        (post(token, "", b"{"), 400),
    ] {
        for _ in 0..5 {
            let mut other = says(&gateway.replica, &request).await;
            let answered = timeout(SOON, answer(&mut other)).await.expect("in time");
            assert_eq!(answered.expect("an answer").0, status);
            others.push(other);
        }
    }
    gateway.call_on(&mut alice).await;
}
