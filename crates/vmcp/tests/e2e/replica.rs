//! The server as it is configured, over HTTP.

use std::{net::SocketAddr, time::Duration};

use rmcp::{
    RoleClient, ServiceExt as _,
    model::{CallToolRequestParams, CallToolResult, ErrorCode},
    service::{RunningService, ServiceError},
    transport::StreamableHttpClientTransport,
};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use vmcp::{Server, config::Config};

use crate::{
    backend::{HttpBackend, url},
    process::Process,
};

/// A replica in this process.
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    _serve: AbortOnDropHandle<()>,
}

impl Replica {
    pub(crate) async fn start(yaml: &str) -> Self {
        let text = format!("name: research\nlisten: 127.0.0.1:0\n{yaml}");
        let (config, unknown) = Config::parse(&text).unwrap();
        assert_eq!(unknown, [""; 0]);
        let server = Server::bind(config).await.unwrap();
        let address = server.local_addr().unwrap();
        let serve = tokio::spawn(async { server.serve(std::future::pending()).await });
        let replica = Self {
            address,
            _serve: AbortOnDropHandle::new(serve),
        };
        until_ready(address).await;
        replica
    }

    pub(crate) async fn client(&self) -> RunningService<RoleClient, ()> {
        let transport = StreamableHttpClientTransport::from_uri(url(self.address));
        ().serve(transport).await.unwrap()
    }
}

pub(crate) async fn until_ready(address: SocketAddr) {
    let ready = async {
        let url = format!("http://{address}/readyz");
        while !reqwest::get(&url)
            .await
            .is_ok_and(|got| got.status().is_success())
        {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), ready)
        .await
        .expect("ready");
}

async fn call(
    client: &RunningService<RoleClient, ()>,
    name: &'static str,
    arguments: Value,
) -> Result<CallToolResult, ServiceError> {
    let arguments = serde_json::from_value(arguments).unwrap();
    client
        .call_tool(CallToolRequestParams::new(name).with_arguments(arguments))
        .await
}

fn limited(backend: &HttpBackend, rest: &str) -> String {
    format!(
        "
incomingAuth: {{type: anonymous}}
backends: [{{name: a, url: '{}'}}]
limiter: embedded
rateLimiting:
  tools: [{{name: a_echo, perUser: {{maxTokens: 5, refillPeriod: 1h}}}}]
{rest}",
        backend.url()
    )
}

#[tokio::test]
async fn five_calls_pass_the_sixth_is_denied_and_never_reaches_the_backend() {
    let backend = HttpBackend::start().await;
    let replica = Replica::start(&limited(&backend, "")).await;
    let client = replica.client().await;
    for _ in 0..5 {
        call(&client, "a_echo", json!({})).await.unwrap();
    }
    let Err(ServiceError::McpError(error)) = call(&client, "a_echo", json!({})).await else {
        panic!("not denied");
    };
    assert_eq!(error.code, ErrorCode(-32029));
    assert_eq!(error.data.unwrap()["name"], json!("a_echo"));
    assert_eq!(backend.counter.calls(), 5);
    call(&client, "a_reverse", json!({})).await.unwrap();
}

#[tokio::test]
async fn through_the_optimizer_the_real_tool_is_limited() {
    let backend = HttpBackend::start().await;
    let replica = Replica::start(&limited(&backend, "optimizer: {}\n")).await;
    let client = replica.client().await;
    let names = client.list_all_tools().await.unwrap();
    assert_eq!(names.len(), 2);

    let found = call(
        &client,
        "find_tool",
        json!({"tool_description": "returns arguments"}),
    );
    let found = found.await.unwrap().structured_content.unwrap();
    assert_eq!(found["tools"][0]["name"], json!("a_echo"), "{found}");

    let echo = json!({"tool_name": "a_echo", "parameters": {"x": 1}});
    for _ in 0..5 {
        let result = call(&client, "call_tool", echo.clone()).await.unwrap();
        assert_ne!(result.is_error, Some(true));
    }
    let Err(ServiceError::McpError(error)) = call(&client, "call_tool", echo).await else {
        panic!("not denied");
    };
    assert_eq!(error.data.unwrap()["name"], json!("a_echo"));
    assert_eq!(backend.counter.calls(), 5);

    let other = json!({"tool_name": "a_reverse", "parameters": {}});
    call(&client, "call_tool", other).await.unwrap();
    let unknown = json!({"tool_name": "a_nothing", "parameters": {}});
    let unknown = call(&client, "call_tool", unknown).await.unwrap();
    assert_eq!(unknown.is_error, Some(true));
    assert_eq!(backend.counter.calls(), 6);
}

#[tokio::test]
async fn a_limiter_that_cannot_be_reached_blocks_nothing_unless_told_to() {
    let backend = HttpBackend::start().await;
    let with = |on_unavailable: &str| {
        format!(
            "
incomingAuth: {{type: anonymous}}
backends: [{{name: a, url: '{}'}}]
limiter: {{endpoint: 'http://127.0.0.1:1', onUnavailable: {on_unavailable}}}
",
            backend.url()
        )
    };
    let replica = Replica::start(&with("allow")).await;
    let client = replica.client().await;
    for _ in 0..20 {
        call(&client, "a_echo", json!({})).await.unwrap();
    }
    let replica = Replica::start(&with("deny")).await;
    let client = replica.client().await;
    let refused = call(&client, "a_echo", json!({})).await;
    assert!(refused.is_err());
    assert_eq!(backend.counter.calls(), 20);
}

#[tokio::test]
async fn the_binary_serves_and_stops_when_it_is_told() {
    let backend = HttpBackend::start().await;
    let yaml = limited(&backend, "name: research\nlisten: 127.0.0.1:0\n");
    let process = Process::start(&yaml, ":").await;
    until_ready(process.address).await;
    let transport = StreamableHttpClientTransport::from_uri(url(process.address));
    let client = ().serve(transport).await.unwrap();
    call(&client, "a_echo", json!({})).await.unwrap();
    drop(client);
    process.stopped().await;
}
