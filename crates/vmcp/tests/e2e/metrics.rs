//! What `/metrics` says after a run whose outcomes are known.

use std::net::SocketAddr;

use reqwest::header::CONTENT_TYPE;
use rmcp::{
    RoleClient, ServiceExt as _,
    model::CallToolRequestParams,
    service::{RunningService, ServiceError},
    transport::StreamableHttpClientTransport,
};
use tokio::{
    net::TcpListener,
    time::{Duration, sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use vmcp::{Server, config::Config};

use crate::{
    backend::{HttpBackend, url},
    replica::Replica,
};

async fn scraped(address: SocketAddr) -> String {
    let url = format!("http://{address}/metrics");
    let response = reqwest::get(url).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()[CONTENT_TYPE],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let text = response.text().await.unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert_documented(&text);
    text
}

/// Each metric has a row in the documentation, with its type.
fn assert_documented(text: &str) {
    let documentation = include_str!("../../../../docs/observability.md");
    for family in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = family.split_once(' ').unwrap();
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let row = format!("| `{name}{suffix}` | {kind} |");
        assert!(documentation.contains(&row), "{row}");
    }
}

fn assert_lines(text: &str, expected: &[&str]) {
    for line in expected {
        assert!(text.lines().any(|is| is == *line), "{line}\n{text}");
    }
}

async fn call(
    client: &RunningService<RoleClient, ()>,
    tool: &'static str,
) -> Result<(), ServiceError> {
    client
        .call_tool(CallToolRequestParams::new(tool))
        .await
        .map(drop)
}

#[tokio::test]
async fn a_run_is_counted_from_the_caller_to_the_backend() {
    let backend = HttpBackend::start().await;
    let replica = Replica::start(&format!(
        "
incomingAuth: {{type: anonymous}}
backends: [{{name: a, url: '{}'}}]
limiter: embedded
rateLimiting:
  tools: [{{name: a_echo, global: {{maxTokens: 5, refillPeriod: 1h}}}}]
",
        backend.url()
    ))
    .await;
    let client = replica.client().await;
    for n in 1..=7 {
        assert_eq!(call(&client, "a_echo").await.is_ok(), n <= 5);
    }
    let version = env!("CARGO_PKG_VERSION");
    let text = scraped(replica.address).await;
    assert_lines(
        &text,
        &[
            &format!("vmcp_build_info{{version=\"{version}\"}} 1"),
            r#"vmcp_requests_total{method="initialize",outcome="ok"} 1"#,
            r#"vmcp_requests_total{method="tools/call",outcome="ok"} 5"#,
            r#"vmcp_requests_total{method="tools/call",outcome="denied"} 2"#,
            r#"vmcp_request_duration_seconds_count{method="tools/call"} 7"#,
            r#"toolgate_client_checks_total{result="allowed"} 5"#,
            r#"toolgate_client_checks_total{result="denied"} 2"#,
            r#"toolgate_client_checks_total{result="fail_open"} 0"#,
            "toolgate_client_check_duration_seconds_count 7",
            r#"vmcp_backend_up{backend="a"} 1"#,
            r#"vmcp_backend_requests_total{backend="a",outcome="ok"} 5"#,
            r#"vmcp_backend_requests_total{backend="a",outcome="unavailable"} 0"#,
            r#"vmcp_backend_request_duration_seconds_count{backend="a"} 5"#,
        ],
    );
    // It has no limiter replicas, and never names what callers choose.
    assert!(!text.contains("breaker_state{"), "{text}");
    assert!(
        !text.contains("echo") && !text.contains("anonymous"),
        "{text}"
    );
}

#[tokio::test]
async fn a_backend_that_has_gone_is_down_and_calls_of_it_are_unavailable() {
    let backend = HttpBackend::start().await;
    let replica = Replica::start(&format!(
        "
incomingAuth: {{type: anonymous}}
backends: [{{name: a, url: '{}', relistInterval: 20ms}}]
",
        backend.url()
    ))
    .await;
    let client = replica.client().await;
    drop(backend);
    let down = async {
        while !scraped(replica.address)
            .await
            .contains("vmcp_backend_up{backend=\"a\"} 0\n")
        {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), down).await.expect("down");
    call(&client, "a_echo").await.unwrap_err();
    let text = scraped(replica.address).await;
    assert_lines(
        &text,
        &[
            r#"vmcp_requests_total{method="tools/call",outcome="unavailable"} 1"#,
            r#"vmcp_backend_requests_total{backend="a",outcome="unavailable"} 1"#,
            r#"vmcp_backend_requests_total{backend="a",outcome="ok"} 0"#,
        ],
    );
    // No limiter is configured, so nothing is said of one.
    assert!(!text.contains("toolgate_client"), "{text}");
}

/// A limiter that accepts connections and never says a word.
#[tokio::test]
async fn a_silent_limiter_is_seen_with_its_failures_by_cause() {
    let backend = HttpBackend::start().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let replica = Replica::start(&format!(
        "
incomingAuth: {{type: anonymous}}
backends: [{{name: a, url: '{}'}}]
limiter: {{endpoint: '{endpoint}', timeout: 20ms}}
",
        backend.url()
    ))
    .await;
    let client = replica.client().await;
    for _ in 0..10 {
        call(&client, "a_echo").await.unwrap();
    }
    let text = scraped(replica.address).await;
    assert_lines(
        &text,
        &[
            r#"toolgate_client_checks_total{result="allowed"} 0"#,
            r#"toolgate_client_checks_total{result="fail_open"} 10"#,
            r#"toolgate_client_checks_total{result="refused"} 0"#,
            "toolgate_client_deny_cache_hits_total 0",
            r#"vmcp_requests_total{method="tools/call",outcome="ok"} 10"#,
        ],
    );
    let states = text
        .lines()
        .filter(|line| line.starts_with("toolgate_client_breaker_state{") && line.ends_with(" 1"));
    assert_eq!(states.count(), 1, "{text}");
    let by_cause = text
        .lines()
        .filter(|line| line.starts_with("toolgate_client_fail_open_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
    assert_eq!(by_cause.sum::<u64>(), 10);
    assert!(text.contains(&endpoint), "{text}");
}

/// Inline limits are read again when their file changes, and a broken file changes nothing.
#[tokio::test]
async fn changed_limits_come_into_force_without_a_restart() {
    let backend = HttpBackend::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vmcp.yaml");
    let write = |max_tokens: u32| {
        let text = format!(
            "
name: research
listen: 127.0.0.1:0
incomingAuth: {{type: anonymous}}
backends: [{{name: a, url: '{}'}}]
limiter: embedded
rateLimiting: {{tools: [{{name: a_echo, global: {{maxTokens: {max_tokens}, refillPeriod: 1h}}}}]}}
",
            backend.url()
        );
        std::fs::write(&file, text).unwrap();
    };
    write(100);
    let (config, _) = Config::read(&file).unwrap();
    let server = Server::bind(config).await.unwrap();
    let address = server.local_addr().unwrap();
    let _serve = AbortOnDropHandle::new(tokio::spawn(server.serve(std::future::pending())));
    let until = async |line: &str| {
        let seen = async {
            while !scraped(address).await.lines().any(|is| is == line) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(30), seen).await.expect(line);
    };
    until(r#"vmcp_backend_up{backend="a"} 1"#).await;
    let transport = StreamableHttpClientTransport::from_uri(url(address));
    let client = ().serve(transport).await.unwrap();
    call(&client, "a_echo").await.unwrap();
    until(r#"toolgate_policy_reloads_total{result="success"} 1"#).await;
    write(0);
    until(r#"toolgate_policy_reloads_total{result="failure"} 1"#).await;
    call(&client, "a_echo").await.unwrap();
    // A bucket keeps its tokens, cut to the new capacity: one is left.
    write(1);
    until(r#"toolgate_policy_reloads_total{result="success"} 2"#).await;
    call(&client, "a_echo").await.unwrap();
    call(&client, "a_echo").await.unwrap_err();
    assert_eq!(backend.counter.calls(), 3);
}
