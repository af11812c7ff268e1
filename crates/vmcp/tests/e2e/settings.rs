//! What the process makes of its settings.

use tokio::io::AsyncBufReadExt as _;

use crate::process::{CONFIG, Process, run};

#[tokio::test]
async fn metrics_and_probes_can_have_an_address_of_their_own() {
    let yaml = format!("{CONFIG}adminListen: 127.0.0.1:0\n");
    let mut process = Process::start(&yaml, ":").await;
    let mut second = String::new();
    process.stdout.read_line(&mut second).await.unwrap();
    let admin = second.trim().rsplit('/').next().unwrap();
    let status = async |address: &str, path: &str| {
        let got = reqwest::get(format!("http://{address}{path}")).await;
        got.unwrap().status().as_u16()
    };
    let public = process.address.to_string();
    for path in ["/metrics", "/livez", "/readyz"] {
        assert_eq!(status(&public, path).await, 404, "{path}");
        assert_ne!(status(admin, path).await, 404, "{path}");
    }
    assert_eq!(status(admin, "/mcp").await, 404);
    assert_eq!(status(admin, "/livez").await, 200);
    process.stopped().await;
}

/// A misspelt `limiter` was one of many unknown fields, and all calls ran without limits.
#[tokio::test]
async fn that_there_are_no_limits_is_said() {
    let process = Process::start(CONFIG, ":").await;
    let log = process.stopped().await;
    assert!(
        log.contains("WARN") && log.contains("no limits: neither limiter nor rateLimiting"),
        "{log}"
    );
}

/// An invalid filter was dropped, and with it what keeps resource URIs out of the log.
#[tokio::test]
async fn a_log_filter_that_is_none_is_an_error() {
    let output = run(CONFIG, "export RUST_LOG=vmcp=loud").await;
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("RUST_LOG"), "{log}");
}
