//! What callers can make the limiter hold, in bytes. docs/security.md has the formula.

use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use toolgate_proto::pb::CheckStreamRequest;
use toolgate_tests::{Limiter, eventually, of_user};

use crate::{
    frames::{PING, PREFACE_WITHOUT_WINDOW, any_frame, call, connect, message, part, ping},
    shares::decided,
    stage::check,
};

const GENEROUS: &str = "perUser: {maxTokens: 1000000, refillPeriod: 24h}";

const KIB: u64 = 1_024;

/// `connections.max`, one of which is honest.
const CONNECTIONS: u64 = 25;

/// `connections.maxStreams`.
const STREAMS: u64 = 64;

/// Of these streams each has a part of a message,
const HALVES: u32 = 32;

/// each of these answers that nobody reads,
const ANSWERED: u32 = 7;

/// the next one fills the share of its connection, and as many of these their windows as that of the
/// connection has room for.
const UNREAD: usize = 24;

const WINDOW_UPDATE: u8 = 8;

/// A part of a message, and the window of a stream.
const HALF: usize = 16_000;
const WINDOW: usize = 32 * 1_024;

/// The most that a connection can hold, by docs/security.md.
const fn of_connection() -> u64 {
    let fixed = 512 * KIB + 768 * KIB + 2_048 * KIB;
    let checks = KIB;
    fixed + checks + STREAMS * 148 * KIB
}

/// The message of so many checks on a stream.
fn checks(count: u64) -> Vec<u8> {
    let messages = (1..=count).map(|id| {
        message(&CheckStreamRequest {
            id,
            check: Some(of_user("mallory")),
            ..CheckStreamRequest::default()
        })
    });
    messages.collect::<Vec<_>>().concat()
}

/// A connection, the number of its next stream, and what it may send.
struct Attacker {
    connection: TcpStream,
    next: u32,
    window: usize,
}

impl Attacker {
    /// Opens so many streams, and sends these bytes on each of them.
    async fn open(&mut self, streams: u32, bytes: &[u8]) {
        for _ in 0..streams {
            let stream = self.next;
            self.next += 2;
            self.window -= bytes.len();
            let mut said = call(stream, "/toolgate.v1.LimiterService/CheckStream", &[]);
            for bytes in bytes.chunks(16 * 1_024) {
                said.extend(part(stream, bytes));
            }
            self.connection.write_all(&said).await.expect("open");
        }
    }

    /// Done when all that was sent is read from the connection.
    async fn is_read(&mut self) {
        self.connection.write_all(&ping()).await.expect("open");
        loop {
            let frame = any_frame(&mut self.connection).await;
            let (kind, _, stream, payload) = frame.expect("open");
            match (kind, stream, payload.first_chunk()) {
                (PING, ..) => return,
                (WINDOW_UPDATE, 0, Some(more)) => self.window += u32::from_be_bytes(*more) as usize,
                _ => {}
            }
        }
    }
}

/// Attackers that hold all that they can make the limiter keep. The test of abuse has streams that say nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_attackers_can_hold_is_what_the_documentation_says() {
    let (connections, streams) = (CONNECTIONS.to_string(), STREAMS.to_string());
    let arguments = [
        ["--connections-max", &connections],
        ["--connections-max-streams", &streams],
        ["--connections-max-checks", "1"],
        ["--connections-unread-timeout", "10m"],
        ["--connections-message-timeout", "10m"],
    ];
    let limiter = Limiter::of_spec(GENEROUS, arguments.as_flattened()).await;
    let mut limiter = limiter.expect("a limiter");
    let honest = limiter.client().await.expect("a connection");
    check(&honest, of_user("alice")).await.expect("decided");
    let before = limiter.resident_bytes().expect("memory");
    let mut attackers = Vec::new();
    for _ in 1..CONNECTIONS {
        let mut connection = connect(&limiter).await;
        let begun = connection.write_all(PREFACE_WITHOUT_WINDOW).await;
        begun.expect("open");
        attackers.push(Attacker {
            connection,
            next: 1,
            window: 65_535,
        });
    }
    let half = [&[0, 0, 0, 0x3f, 0][..], &[0; HALF]].concat();
    for attacker in &mut attackers {
        attacker.is_read().await;
        for _ in 0..HALVES {
            attacker.open(1, &half).await;
            attacker.is_read().await;
        }
        attacker.open(ANSWERED, &checks(16)).await;
        attacker.is_read().await;
    }
    let count = CONNECTIONS - 1;
    let answered = 1 + count * u64::from(ANSWERED) * 16;
    eventually("these are answered", async || {
        (decided(&limiter).await >= answered).then_some(())
    })
    .await;
    for attacker in &mut attackers {
        // The answers of the first group wait to be sent, and those of the second to be taken.
        attacker.open(1, &checks(100)).await;
    }
    eventually("their shares are full", async || {
        (decided(&limiter).await >= answered + count * 100).then_some(())
    })
    .await;
    let mut sent = attackers.len() * HALVES as usize * HALF;
    for attacker in &mut attackers {
        attacker.is_read().await;
        let unread = UNREAD.min(attacker.window / WINDOW);
        assert!(unread > UNREAD / 3, "{unread}");
        sent += unread * WINDOW;
        let streams = u32::try_from(unread).expect("few");
        attacker.open(streams, &vec![0; WINDOW]).await;
        attacker.is_read().await;
    }
    let grown = limiter.resident_bytes().expect("memory") - before;
    println!(
        "a connection holds {} bytes, and {} are sent; at most {}",
        grown / count,
        sent as u64 / count,
        of_connection()
    );
    assert!(grown > sent as u64, "{grown}: it is held");
    assert!(grown < CONNECTIONS * of_connection(), "{grown}");
    // More connections hold nothing.
    for _ in 0..20 {
        let mut late = connect(&limiter).await;
        let _ = late.write_all(PREFACE_WITHOUT_WINDOW).await;
        crate::frames::closed(&mut late).await;
    }
    let after = limiter.resident_bytes().expect("memory") - before;
    assert!(after < CONNECTIONS * of_connection(), "{after}");
    check(&honest, of_user("alice")).await.expect("decided");
}
