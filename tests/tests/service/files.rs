//! The files that a limiter may have open, and the HTTP port, whose connections are some of them.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    time::{sleep, timeout},
};
use toolgate_net::descriptors;
use toolgate_tests::{Limiter, of_user};

use crate::TWO_A_DAY;

async fn get(address: &str, path: &str) -> String {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(Duration::from_secs(20), ask).await;
    answer.expect("in time").expect("an answer")
}

async fn assert_serves(limiter: &Limiter) {
    for path in ["/livez", "/readyz", "/metrics"] {
        let answer = get(limiter.http_address(), path).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    limiter.check(of_user("alice")).await.expect("a decision");
}

/// 1,100 connections that said nothing took all files of the limiter, for ever: no probe was
/// answered, no caller taken, no policy read.
#[tokio::test]
async fn silent_connections_to_the_http_port_lock_nobody_out() {
    descriptors::raise();
    let limiter = Limiter::under(&["prlimit", "--nofile=1024:1024"], TWO_A_DAY, [""; 0]).await;
    let limiter = limiter.expect("a limiter");
    let mut attackers = Vec::new();
    for place in 0..1_100 {
        let mut stream = TcpStream::connect(limiter.http_address())
            .await
            .expect("connected");
        match place % 3 {
            0 => stream
                .write_all(b"GET /livez HTTP/1.1\r\nhost:")
                .await
                .expect("sent"),
            // It has asked once, and stays.
            1 => {
                let asks = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
                stream.write_all(asks).await.expect("sent");
            }
            _ => {}
        }
        attackers.push(stream);
    }
    assert_serves(&limiter).await;
    // They were there, and most of them were closed.
    sleep(Duration::from_millis(200)).await;
    let mut open = 0;
    for stream in &mut attackers {
        let mut said = Vec::new();
        open += usize::from(
            timeout(Duration::from_millis(1), stream.read_to_end(&mut said))
                .await
                .is_err(),
        );
    }
    println!("{open} of 1100 are open");
    assert!((1..=256).contains(&open), "{open}");
    let log = limiter.log().expect("a log");
    assert!(!log.contains("cannot accept"), "{log}");
}

/// Whoever asks for much and reads nothing keeps neither a place nor what was asked for.
#[tokio::test]
async fn who_reads_no_answer_locks_nobody_out() {
    let limiter = Limiter::of_spec(TWO_A_DAY, [""; 0])
        .await
        .expect("a limiter");
    let ask = "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(2_000);
    let mut attackers = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(limiter.http_address())
            .await
            .expect("connected");
        let (_, mut write) = stream.split();
        // Some wait until there is room for what they ask.
        let _ = timeout(Duration::from_millis(5), write.write_all(ask.as_bytes())).await;
        attackers.push(stream);
    }
    assert_serves(&limiter).await;
}

#[tokio::test]
async fn a_unix_socket_for_http_has_the_same_bounds() {
    descriptors::raise();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("http");
    let address = format!("unix://{}", path.display());
    let limiter = Limiter::of_spec(TWO_A_DAY, ["--http-listen", &address]).await;
    let _limiter = limiter.expect("a limiter");
    let mut attackers = Vec::new();
    for _ in 0..400 {
        attackers.push(UnixStream::connect(&path).await.expect("connected"));
    }
    let mut stream = UnixStream::connect(&path).await.expect("connected");
    let ask = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(ask).await.expect("sent");
    let mut answer = String::new();
    let read = timeout(Duration::from_secs(20), stream.read_to_string(&mut answer));
    read.await.expect("in time").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn soft_limit(limiter: &mut Limiter) -> String {
    let id = limiter.id().expect("it runs");
    let limits = std::fs::read_to_string(format!("/proc/{id}/limits")).expect("limits");
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    soft.expect("a limit").to_owned()
}

#[tokio::test]
async fn the_soft_limit_is_raised_and_one_that_is_too_low_is_told() {
    let mut limiter = Limiter::under(&["prlimit", "--nofile=64:4000"], TWO_A_DAY, [""; 0])
        .await
        .expect("a limiter");
    assert_eq!(soft_limit(&mut limiter), "4000");
    let log = limiter.log().expect("a log");
    let warning = log
        .lines()
        .find(|line| line.contains("fewer files may be open"));
    let warning = warning.expect("a warning");
    assert!(
        warning.contains("4000") && warning.contains("connections.max"),
        "{warning}"
    );

    let arguments = ["--connections-max", "1000"];
    let mut limiter = Limiter::under(&["prlimit", "--nofile=64:4000"], TWO_A_DAY, arguments)
        .await
        .expect("a limiter");
    assert_eq!(soft_limit(&mut limiter), "4000");
    let log = limiter.log().expect("a log");
    assert!(!log.contains("fewer files may be open"), "{log}");
}

/// "cannot accept connections" was logged 200 times in 20 s, once after each connection that had gone
/// in between.
#[tokio::test]
async fn too_many_open_files_are_told_once() {
    let limiter = Limiter::under(&["prlimit", "--nofile=64:64"], TWO_A_DAY, [""; 0]).await;
    let limiter = limiter.expect("a limiter");
    let (_, address) = limiter.endpoint().split_once("://").expect("a URL");
    for _ in 0..10 {
        let mut connections = Vec::new();
        for _ in 0..96 {
            connections.push(TcpStream::connect(address).await.expect("queued"));
        }
        sleep(Duration::from_millis(120)).await;
    }
    let log = limiter.log().expect("a log");
    let told = log.matches("cannot accept connections").count();
    assert_eq!(told, 1, "{log}");
    assert!(log.contains("Too many open files"), "{log}");
    // It goes on where it was.
    limiter.check(of_user("alice")).await.expect("a decision");
}
