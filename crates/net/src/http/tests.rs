use std::{net::SocketAddr, sync::Arc};

use axum::{
    Extension, Router,
    body::Bytes,
    http::StatusCode,
    routing::{get, post},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
};

use super::*;
use crate::http::io::{MOST_AHEAD, READ_WITHIN};

/// More than sockets hold.
const LARGE: usize = 32 << 20;

struct Served {
    address: SocketAddr,
    drain: watch::Sender<bool>,
    ended: JoinHandle<()>,
    /// How many requests of `/held` have come.
    held: watch::Receiver<usize>,
    /// Lets each of them end.
    release: Arc<Semaphore>,
}

async fn served(most: usize) -> Served {
    served_within(Bounds::of(most)).await
}

async fn served_within(bounds: Bounds) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let release = Arc::new(Semaphore::new(0));
    let (count, held) = watch::channel(0);
    let released = Arc::clone(&release);
    let router = Router::new()
        .route("/", get(StatusCode::OK))
        .route(
            "/held",
            get(async move || {
                count.send_modify(|held| *held += 1);
                released.acquire().await.unwrap().forget();
            }),
        )
        .route(
            "/work",
            get(async |Extension(connection): Extension<Connection>| connection.worked()),
        )
        .route(
            "/spare",
            get(async |Extension(connection): Extension<Connection>| {
                connection.is_spare().to_string()
            }),
        )
        .route("/read", post(async |_: Bytes| {}))
        .route("/slow", get(|| sleep(Duration::from_secs(5))))
        .route("/large", get(|| async { "x".repeat(LARGE) }));
    let (drain, draining) = watch::channel(false);
    Served {
        address,
        drain,
        held,
        release,
        ended: tokio::spawn(serve(Acceptor::new(listener), router, bounds, draining)),
    }
}

impl Served {
    /// Until so many requests of `/held` have come.
    async fn until_held(&self, count: usize) {
        let mut held = self.held.clone();
        let wait = timeout(
            Duration::from_secs(20),
            held.wait_for(|held| *held >= count),
        );
        wait.await.expect("they are asked for").unwrap();
    }

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

/// Who had asked once kept its place for as long as it was idle.
#[tokio::test]
async fn where_all_have_asked_the_one_that_is_idle_for_longest_makes_room() {
    let served = served(2).await;
    let mut asked = Vec::new();
    for _ in 0..2 {
        let mut stream = served.says(GET).await;
        stream.read_exact(&mut [0; 12]).await.unwrap();
        asked.push(stream);
    }
    let answer = timeout(HEAD_WITHIN / 2, all_of(served.says(LAST_GET).await));
    let answer = answer.await.expect("it need not wait");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut other = asked.pop().unwrap();
    all_of(asked.pop().unwrap()).await;
    other.write_all(LAST_GET.as_bytes()).await.unwrap();
    let answers = all_of(other).await;
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 1, "{answers}");
}

#[tokio::test]
async fn who_is_being_answered_makes_no_room_and_new_ones_wait() {
    let served = served(1).await;
    let slow = served.says("GET /slow HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let slow = tokio::spawn(all_of(slow.await));
    sleep(Duration::from_millis(100)).await;
    let mut waits = tokio::spawn(all_of(served.says(LAST_GET).await));
    let while_full = timeout(Duration::from_millis(400), &mut waits).await;
    assert!(while_full.is_err(), "it was served beside the first");
    assert!(slow.await.unwrap().starts_with("HTTP/1.1 200"));
    let answer = timeout(Duration::from_secs(20), waits).await.unwrap();
    assert!(answer.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn who_does_not_read_makes_room() {
    let served = served(1).await;
    let mut unread = served.says("GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await;
    unread.read_exact(&mut [0; 12]).await.unwrap();
    let answer = timeout(HEAD_WITHIN, all_of(served.says(LAST_GET).await));
    let answer = answer.await.expect("it need not wait for long");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(all_of(unread).await.len() < LARGE, "it was cut off");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_cut_off_and_who_reads_is_not() {
    let served = served(10).await;
    let mut unread = served.says("GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await;
    unread.read_exact(&mut [0; 12]).await.unwrap();
    sleep(READ_WITHIN * 2).await;
    assert!(all_of(unread).await.len() < LARGE);
    tokio::time::resume();
    let read = served.says("GET /large HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(all_of(read.await).await.len() > LARGE);
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

/// From another address of this machine.
async fn from(address: &str, served: &Served, text: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(format!("{address}:0").parse().unwrap())
        .unwrap();
    let mut stream = socket.connect(served.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Asks and waits for the answer, and leaves the connection idle.
async fn idle(mut stream: TcpStream) -> TcpStream {
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    stream
}

/// Whether it is still served: a second request is answered.
async fn is_served(mut stream: TcpStream) -> bool {
    let sent = stream.write_all(LAST_GET.as_bytes()).await;
    sent.is_ok() && all_of(stream).await.contains("connection: close")
}

const HELD: &str = "GET /held HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const WORK: &str = "GET /work HTTP/1.1\r\nhost: a\r\n\r\n";

/// Connections that asked for `/livez` now and then kept their places, and those that had called a
/// tool before made room for them.
#[tokio::test]
async fn whoever_asks_without_work_makes_room_before_whoever_has_worked() {
    let served = served(3).await;
    let works = idle(served.says(WORK).await).await;
    let mut idlers = Vec::new();
    for _ in 0..20 {
        let next = timeout(HEAD_WITHIN / 2, async {
            idle(served.says(GET).await).await
        });
        idlers.push(next.await.expect("it need not wait"));
    }
    assert!(is_served(works).await);
    let mut still = 0;
    for idler in idlers {
        still += usize::from(is_served(idler).await);
    }
    assert!((1..=2).contains(&still), "{still}");
}

#[tokio::test]
async fn of_those_that_have_worked_one_of_the_address_with_most_makes_room() {
    let served = served(4).await;
    let few = idle(from("127.0.0.2", &served, WORK).await).await;
    let mut many = Vec::new();
    for _ in 0..20 {
        many.push(idle(from("127.0.0.3", &served, WORK).await).await);
    }
    assert!(is_served(few).await);
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_others_have_theirs() {
    let served = served_within(Bounds {
        per_address: Some(2),
        ..Bounds::of(100)
    })
    .await;
    let first = idle(served.says(WORK).await).await;
    let second = tokio::spawn(all_of(served.says(HELD).await));
    served.until_held(1).await;
    // An idle one makes room.
    let third = tokio::spawn(all_of(served.says(HELD).await));
    assert_eq!(all_of(first).await.matches("HTTP/1.1").count(), 0);
    served.until_held(2).await;
    // Of those that are being answered, none.
    let fourth = timeout(HEAD_WITHIN / 2, all_of(served.says(GET).await));
    assert_eq!(fourth.await.expect("closed at once"), "");
    let other = idle(from("127.0.0.2", &served, GET).await).await;
    assert!(is_served(other).await);
    served.release.add_permits(2);
    for held in [second, third] {
        assert!(held.await.unwrap().starts_with("HTTP/1.1 200"));
    }
}

/// Long calls on all connections kept a probe waiting, and whoever probes ends what does not answer.
#[tokio::test]
async fn while_all_are_being_answered_there_is_room_for_one_request_each_on_spare_connections() {
    let served = served_within(Bounds {
        spare: 1,
        ..Bounds::of(2)
    })
    .await;
    let spare = "GET /spare HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut asked = served.says(spare).await;
    let mut answer = vec![0; 512];
    let read = asked.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.ends_with("false"), "{answer}");
    drop(asked);
    let mut held = Vec::new();
    for count in 1..=2 {
        held.push(served.says(HELD).await);
        served.until_held(count).await;
    }
    for _ in 0..3 {
        let answer = timeout(HEAD_WITHIN / 2, all_of(served.says(spare).await));
        let answer = answer.await.expect("it need not wait, and is closed");
        assert!(answer.ends_with("true"), "{answer}");
    }
    served.release.add_permits(2);
    for held in held {
        assert!(all_of(held).await.starts_with("HTTP/1.1 200"));
    }
}

/// Each new connection took the place of the one before, so only one probe could wait for its turn.
#[tokio::test]
async fn connections_of_probes_do_not_take_each_others_places() {
    let served = served_within(Bounds {
        spare: 2,
        ..Bounds::of(1)
    })
    .await;
    let held = served.says(HELD).await;
    served.until_held(1).await;
    let mut probes = Vec::new();
    for _ in 0..2 {
        // The head comes in two parts, and the other connection between them.
        probes.push(served.says("GET / HTTP/1.1\r\n").await);
    }
    for probe in &mut probes {
        probe.write_all(b"host: a\r\n\r\n").await.unwrap();
    }
    for probe in probes {
        let answer = timeout(HEAD_WITHIN / 2, all_of(probe)).await;
        let answer = answer.expect("it need not wait");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    // The silent make room for each other when there are more of them than may be.
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(served.says("GET /").await);
    }
    let answer = timeout(HEAD_WITHIN / 2, all_of(served.says(GET).await));
    let answer = answer.await.expect("it need not wait");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(all_of(silent.swap_remove(0)).await, "");
    served.release.add_permits(1);
    assert!(all_of(held).await.starts_with("HTTP/1.1 200"));
}

/// Each kept its place until the service had waited long enough for its body.
#[tokio::test]
async fn whoever_has_sent_half_a_body_makes_room() {
    let served = served(3).await;
    let works = idle(served.says(WORK).await).await;
    let half = "POST /read HTTP/1.1\r\nhost: a\r\n";
    let mut halves = Vec::new();
    for body in [
        "content-length: 9\r\n\r\nhalf",
        "transfer-encoding: chunked\r\n\r\n4\r\nha",
    ] {
        halves.push(served.says(&format!("{half}{body}")).await);
    }
    for _ in 0..2 {
        let answer = timeout(HEAD_WITHIN / 2, all_of(served.says(LAST_GET).await));
        let answer = answer.await.expect("it need not wait for long");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert!(is_served(works).await);
    let whole = format!("{half}connection: close\r\ncontent-length: 4\r\n\r\nbody");
    let whole = all_of(served.says(&whole).await).await;
    assert!(whole.starts_with("HTTP/1.1 200"), "{whole}");
}

const HELD_ON: &str = "GET /held HTTP/1.1\r\nhost: a\r\n\r\n";

/// A byte after the request kept hyper from reading on, so that nobody saw the end.
#[tokio::test]
async fn whoever_hangs_up_is_heard_though_more_has_come() {
    let served = served(1).await;
    for (count, more) in [(1, ""), (2, "G"), (3, GET), (4, "x")] {
        let mut hangs_up = served.says(&format!("{HELD_ON}{more}")).await;
        served.until_held(count).await;
        hangs_up.write_all(more.as_bytes()).await.unwrap();
        drop(hangs_up);
        let answer = timeout(HEAD_WITHIN / 2, all_of(served.says(LAST_GET).await));
        let answer = answer.await.expect(more);
        assert!(answer.starts_with("HTTP/1.1 200"), "{more:?}: {answer}");
    }
}

#[tokio::test]
async fn what_comes_early_is_served_in_its_turn_and_too_much_of_it_is_not() {
    let served = served(2).await;
    let mut early = served.says(&format!("{HELD_ON}GET / HT")).await;
    served.until_held(1).await;
    let rest = format!(
        "TP/1.1\r\nhost: a\r\nx-long: {}\r\n\r\n{LAST_GET}",
        "x".repeat(9_000)
    );
    early.write_all(rest.as_bytes()).await.unwrap();
    let mut too_much = served.says(HELD_ON).await;
    served.until_held(2).await;
    // It may be closed in the middle.
    let _ = too_much.write_all(&vec![b'x'; 4 * MOST_AHEAD]).await;
    let closed = timeout(HEAD_WITHIN / 2, all_of(too_much)).await;
    assert_eq!(closed.expect("closed at once"), "");
    served.release.add_permits(1);
    let answers = all_of(early).await;
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 3, "{answers}");
}
