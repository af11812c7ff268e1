//! Clients that say nothing, or half of what they want.

use std::time::Duration;

use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::process::{CONFIG, Process};

/// 300 connections that said nothing took all 256 files of the process, and nobody was served any
/// more, nor was anything logged.
#[tokio::test]
async fn more_silent_connections_than_files_stop_nobody() {
    let process = Process::start(CONFIG, "ulimit -n 256").await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(process.address).await.unwrap());
    }
    let live = reqwest::get(format!("http://{}/livez", process.address));
    let live = timeout(Duration::from_secs(8), live).await;
    assert!(live.expect("in time").unwrap().status().is_success());
    let log = process.stopped().await;
    let full = log.matches("as many connections as may be").count();
    assert_eq!(full, 1, "{log}");
}

/// A drain took 30.1 s for two connections that had sent half a request.
#[tokio::test]
async fn half_requests_do_not_hold_the_drain() {
    let process = Process::start(CONFIG, ":").await;
    let mut halves = Vec::new();
    for half in [
        "POST /mcp HTTP/1.1\r\nhost: a",
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{",
    ] {
        let mut stream = TcpStream::connect(process.address).await.unwrap();
        stream.write_all(half.as_bytes()).await.unwrap();
        halves.push(stream);
    }
    // An answer means that those before have been accepted.
    let url = format!("http://{}/livez", process.address);
    reqwest::get(url).await.unwrap();
    let begun = Instant::now();
    let log = process.stopped().await;
    assert!(log.contains("draining"), "{log}");
    assert!(!log.contains("did not finish"), "{log}");
    assert!(
        begun.elapsed() < Duration::from_secs(9),
        "{:?}",
        begun.elapsed()
    );
}
