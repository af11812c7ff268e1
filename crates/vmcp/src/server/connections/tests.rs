use std::net::SocketAddr;

use axum::{http::StatusCode, routing::get};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinHandle,
    time::Instant,
};

use super::*;

struct Served {
    address: SocketAddr,
    drain: watch::Sender<bool>,
    ended: JoinHandle<()>,
}

async fn served(most: usize) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/", get(StatusCode::OK))
        .route("/slow", get(|| sleep(Duration::from_secs(5))));
    let (drain, draining) = watch::channel(false);
    Served {
        address,
        drain,
        ended: tokio::spawn(serve(listener, router, most, draining)),
    }
}

impl Served {
    async fn says(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }
}

/// What comes until the connection is closed, whether orderly or not.
async fn all_of(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text).await;
    String::from_utf8(text).unwrap()
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const LAST_GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// A connection that said nothing was kept for ever, and took one of the files of the process.
#[tokio::test(start_paused = true)]
async fn who_says_nothing_or_half_a_head_is_cut_off() {
    let served = served(10).await;
    for said in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: a\r\n"] {
        let begun = Instant::now();
        let stream = served.says(said).await;
        assert_eq!(all_of(stream).await, "", "{said:?}");
        let took = begun.elapsed();
        assert!(took >= HEAD_WITHIN && took < HEAD_WITHIN * 2, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_between_requests_for_more_than_a_minute() {
    let served = served(10).await;
    let begun = Instant::now();
    let answer = all_of(served.says(GET).await).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(begun.elapsed() >= IDLE_WITHIN);
}

#[tokio::test]
async fn where_all_connections_are_taken_silent_ones_make_room() {
    let served = served(2).await;
    let oldest = served.says("").await;
    let _other = served.says("GET /").await;
    let answer = timeout(HEAD_WITHIN / 2, all_of(served.says(LAST_GET).await));
    let answer = answer.await.expect("it need not wait");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(all_of(oldest).await, "");
}

#[tokio::test]
async fn who_has_asked_makes_no_room_and_new_ones_wait() {
    let served = served(1).await;
    let mut first = served.says(GET).await;
    let mut answer = [0; 12];
    first.read_exact(&mut answer).await.unwrap();
    let mut waits = tokio::spawn(all_of(served.says(LAST_GET).await));
    let while_full = timeout(Duration::from_millis(100), &mut waits).await;
    assert!(while_full.is_err(), "it was served beside the first");
    first.write_all(LAST_GET.as_bytes()).await.unwrap();
    let rest = all_of(first).await;
    assert!(rest.contains("connection: close"), "{rest}");
    let answer = timeout(Duration::from_secs(20), waits).await.unwrap();
    assert!(answer.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_drain_waits_for_requests_but_not_for_halves_of_them() {
    let served = served(10).await;
    let asked = served.says("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let half = served.says("GET / HTTP/1.1\r\nhost:").await;
    let mut idle = served.says(GET).await;
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.unwrap();
    let mut second_half = served.says(GET).await;
    second_half.read_exact(&mut answer).await.unwrap();
    second_half.write_all(b"GET / HT").await.unwrap();

    tokio::time::pause();
    let begun = Instant::now();
    served.drain.send_replace(true);
    assert!(all_of(asked).await.starts_with("HTTP/1.1 200"));
    for stream in [half, idle, second_half] {
        all_of(stream).await;
    }
    served.ended.await.unwrap();
    // As long as the one request that was whole.
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "{:?}",
        begun.elapsed()
    );
}
