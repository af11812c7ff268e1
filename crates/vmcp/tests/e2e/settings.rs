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

/// SIGHUP killed it, and with it the calls that it had taken.
#[tokio::test]
async fn sighup_ends_nothing_and_is_told() {
    let process = Process::start(CONFIG, ":").await;
    for _ in 0..3 {
        process.signal("-HUP").await;
        let live = reqwest::get(format!("http://{}/livez", process.address)).await;
        assert!(live.unwrap().status().is_success());
    }
    let log = process.stopped().await;
    assert!(log.contains("SIGHUP changes nothing"), "{log}");
}

/// The soft limit is for programs that use `select`; the hard one counts.
#[tokio::test]
async fn the_soft_limit_of_files_is_raised_and_compared_with_the_connections() {
    let yaml = format!("{CONFIG}maxConnections: 1000\n");
    let of = async |limits: &str| Process::start(&yaml, limits).await.stopped().await;
    let warning = "fewer files may be open";
    let log = of("ulimit -Sn 256; ulimit -Hn 8192").await;
    assert!(!log.contains(warning), "{log}");
    let log = of("ulimit -Sn 256; ulimit -Hn 1024").await;
    assert!(
        log.contains(warning)
            && log.contains("may_be_open\":1024")
            && log.contains("maxConnections"),
        "{log}"
    );
}
