//! What pages of other sites can make a browser send, as bytes to the process.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::process::{CONFIG, Process};

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

/// The status of a ping with `target`, and these lines among its headers.
async fn status(process: &Process, target: &str, lines: &str) -> u16 {
    let mut stream = TcpStream::connect(process.address).await.unwrap();
    let length = PING.len();
    let request = format!(
        "POST {target} HTTP/1.1\r\n{lines}Content-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{PING}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1);
    status.and_then(|status| status.parse().ok()).expect("HTTP")
}

/// Requests of foreign pages ran, and of two hosts the first counted.
#[tokio::test]
async fn a_request_comes_from_where_it_may_and_is_for_one_host() {
    let yaml = format!("{CONFIG}allowedOrigins: ['http://localhost:6274']\n");
    let process = Process::start(&yaml, ":").await;
    let own = process.address;
    for (target, lines, expected) in [
        ("/mcp", format!("Host: {own}\r\n"), 200),
        (
            "/mcp",
            format!("Host: {own}\r\nOrigin: http://localhost:6274\r\n"),
            200,
        ),
        (
            "/mcp",
            format!("Host: {own}\r\nOrigin: http://evil.example\r\n"),
            403,
        ),
        ("/mcp", format!("Host: {own}\r\nOrigin: null\r\n"), 403),
        // Of a page whose name leads here.
        (
            "/mcp",
            "Host: evil.example\r\nOrigin: http://evil.example\r\n".to_owned(),
            403,
        ),
        (
            "/mcp",
            format!("Host: {own}\r\nHost: evil.example\r\n"),
            400,
        ),
        ("/mcp", format!("Host: {own}\r\nHost: {own}\r\n"), 400),
        ("http://evil.example/mcp", format!("Host: {own}\r\n"), 400),
        (
            &format!("http://{own}/mcp"),
            format!("Host: {own}\r\n"),
            200,
        ),
    ] {
        let got = status(&process, target, &lines).await;
        assert_eq!(got, expected, "{target} {lines:?}");
    }
    let log = process.stopped().await;
    for setting in ["allowedOrigins", "allowedHosts"] {
        assert_eq!(log.matches(setting).count(), 1, "once, of many: {log}");
    }
}

#[tokio::test]
async fn a_server_for_other_machines_refuses_foreign_pages_and_is_called_by_any_name() {
    let yaml = CONFIG.replace("127.0.0.1:0", "0.0.0.0:0");
    let process = Process::start(&yaml, ":").await;
    let named = "Host: research.tools.svc\r\n";
    assert_eq!(status(&process, "/mcp", named).await, 200);
    let rebound = "Host: evil.example\r\nOrigin: http://evil.example\r\n";
    assert_eq!(status(&process, "/mcp", rebound).await, 403);
    process.stopped().await;

    let yaml = format!("{yaml}allowedHosts: [research.tools.svc]\n");
    let process = Process::start(&yaml, ":").await;
    assert_eq!(status(&process, "/mcp", named).await, 200);
    let other = "Host: evil.example\r\n";
    assert_eq!(status(&process, "/mcp", other).await, 403);
    process.stopped().await;
}

/// The status of a `GET /metrics` that names `host`.
async fn metrics(process: &Process, host: &str) -> u16 {
    let url = format!("http://{}/metrics", process.address);
    let request = reqwest::Client::new().get(url).header("host", host);
    request.send().await.unwrap().status().as_u16()
}

/// What a page reads of a site whose name leads here has no `Origin`, and `/metrics` names tools.
#[tokio::test]
async fn metrics_on_loopback_are_read_by_address_or_by_a_name_that_is_allowed() {
    let process = Process::start(CONFIG, ":").await;
    let own = process.address.to_string();
    for (host, expected) in [
        (own.as_str(), 200),
        ("localhost", 200),
        ("10.1.2.3:9090", 200),
        ("evil.example", 403),
        ("proxy.example", 403),
    ] {
        assert_eq!(metrics(&process, host).await, expected, "{host}");
    }
    process.stopped().await;

    let yaml = format!("{CONFIG}allowedHosts: ['proxy.example:443']\n");
    let process = Process::start(&yaml, ":").await;
    assert_eq!(metrics(&process, "proxy.example").await, 200);
    assert_eq!(
        status(&process, "/mcp", "Host: proxy.example\r\n").await,
        200
    );
    assert_eq!(metrics(&process, "evil.example").await, 403);
    process.stopped().await;

    let process = Process::start(&CONFIG.replace("127.0.0.1:0", "0.0.0.0:0"), ":").await;
    assert_eq!(metrics(&process, "research.tools.svc").await, 200);
    process.stopped().await;
}
