//! Floods of HTTP/2 frames that no bound on calls or checks sees.

use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};
use toolgate_proto::pb::{
    CheckStreamRequest, CheckStreamResponse, check_stream_response::Result as Outcome,
};
use toolgate_tests::{Limiter, PATIENCE, of_user};

use crate::{
    frames::{
        DATA, HEADERS, PREFACE, answer, any_frame, call, connect, data, ended, frame_of, message,
        part, ping, reset, window_update,
    },
    stage::check,
};

const GENEROUS: &str = "perUser: {maxTokens: 1000000, refillPeriod: 24h}";

const CHECK: &str = "/toolgate.v1.LimiterService/Check";
const CHECK_STREAM: &str = "/toolgate.v1.LimiterService/CheckStream";

const FLOODED: &str = "toolgate_connections_closed_total{reason=\"flood\"}";

/// What a connection has, and what is let through while it is refilled: far less than this.
const FRAMES: usize = 50_000;

async fn limiter() -> Limiter {
    let limiter = Limiter::of_spec(GENEROUS, [""; 0]).await;
    limiter.expect("a limiter")
}

/// Each of these went on for as long as its sender liked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_frames_that_carry_nothing_ends_its_connection_alone() {
    const PADDED: u8 = 8;
    let limiter = limiter().await;
    let honest = limiter.client().await.expect("a connection");
    let floods = [
        ("PING", ping()),
        ("SETTINGS", frame_of(4, 0, 0, &[])),
        ("WINDOW_UPDATE", window_update(0, 1)),
        ("PRIORITY", frame_of(2, 0, 1, &[0, 0, 0, 0, 7])),
        ("RST_STREAM", reset(3)),
        ("empty DATA", part(1, &[])),
        ("padded DATA", frame_of(DATA, PADDED, 1, &[0])),
        ("an unknown kind", frame_of(0xfa, 0, 0, b"grease")),
        (
            "a message byte by byte, and PING",
            [part(1, &[0]), ping().repeat(3)].concat(),
        ),
    ];
    let mut closed = 0;
    for (name, frame) in floods {
        let mut attacker = connect(&limiter).await;
        let request = message(&of_user("mallory"));
        let asked = [call(3, CHECK, &[]), data(3, &request)].concat();
        let begun = [call(1, CHECK_STREAM, &[]), asked].concat();
        attacker
            .write_all(&[PREFACE, &begun].concat())
            .await
            .expect("sent");
        answer(&mut attacker, 3)
            .await
            .expect("it is served at first");
        let (mut from, mut to) = attacker.split();
        let flood = async {
            let many = frame.repeat(100);
            for sent in (0..FRAMES).step_by(100) {
                if to.write_all(&many).await.is_err() {
                    return sent;
                }
            }
            FRAMES
        };
        let mut said = Vec::new();
        let both = async { tokio::join!(flood, from.read_to_end(&mut said)) };
        let (sent, _) = timeout(PATIENCE, both).await.expect("it is closed");
        assert!(sent > 0, "{name}");
        check(&honest, of_user("alice")).await.expect("decided");
        let exposition = limiter.metrics().await.expect("metrics");
        let counted = exposition.value(FLOODED);
        // HTTP/2 may end a flood of small DATA first.
        assert!(counted > closed || name.contains("DATA"), "{name}");
        closed = counted;
    }
}

/// What is refused before it is a call is none of ours to count. h2 ends the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_taken_back_or_malformed_or_never_whole_end_their_connection() {
    const ENHANCE_YOUR_CALM: u32 = 11;
    const CONTINUATION: u8 = 9;
    let limiter = limiter().await;
    let honest = limiter.client().await.expect("a connection");
    let streams = (1..).step_by(2);
    // CVE-2023-44487
    let taken_back = streams.clone().take(100);
    let taken_back =
        taken_back.map(|stream| [call(stream, CHECK_STREAM, &[]), reset(stream)].concat());
    // HTTP/2 has no such header.
    let malformed = streams.take(2_000);
    let malformed = malformed.map(|stream| call(stream, CHECK, &[("connection", "close")]));
    // A name and a value of 100 bytes, again and again.
    let header = [&[0, 1, b'x', 100][..], &[b'y'; 100]].concat();
    let headers = header.repeat(100);
    let more = frame_of(CONTINUATION, 0, 1, &headers);
    let never_whole = [frame_of(HEADERS, 0, 1, &headers), more.repeat(100)];
    for (name, flood) in [
        ("taken back", taken_back.collect::<Vec<_>>().concat()),
        ("malformed", malformed.collect::<Vec<_>>().concat()),
        ("never whole", never_whole.concat()),
    ] {
        let mut attacker = connect(&limiter).await;
        // It may be closed in the middle.
        let _ = attacker.write_all(&[PREFACE, &flood].concat()).await;
        assert_eq!(
            ended(&mut attacker).await,
            Some(ENHANCE_YOUR_CALM),
            "{name}"
        );
        check(&honest, of_user("alice")).await.expect("decided");
    }
}

/// Clients answer what they are told with `WINDOW_UPDATE`, and grpc-go measures with PING.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_answer_decisions_are_no_flood() {
    const MANY: u64 = 2_000;
    let limiter = limiter().await;
    let mut client = connect(&limiter).await;
    let said = [PREFACE, &call(1, CHECK_STREAM, &[])].concat();
    client.write_all(&said).await.expect("sent");
    let (mut from, mut to) = client.split();
    let ask = async {
        for id in 1..=MANY {
            let check = message(&CheckStreamRequest {
                id,
                check: Some(of_user("alice")),
                ..CheckStreamRequest::default()
            });
            let updates = [window_update(0, 100), window_update(1, 100)].concat();
            let said = [part(1, &check), updates, ping()].concat();
            to.write_all(&said).await.expect("open");
        }
    };
    let read = async {
        let (mut bytes, mut decided) = (Vec::new(), 0);
        while decided < MANY {
            let (kind, _, _, payload) = any_frame(&mut from).await.expect("open");
            if kind == DATA {
                bytes.extend(payload);
            }
            decided += take_decisions(&mut bytes);
        }
    };
    let both = async { tokio::join!(ask, read) };
    timeout(PATIENCE, both).await.expect("all are decided");
    // The same with a call for each check, which is taken back after its answer.
    for stream in (3..).step_by(2).take(1_500) {
        let called = [
            call(stream, CHECK, &[]),
            data(stream, &message(&of_user("alice"))),
        ];
        client.write_all(&called.concat()).await.expect("open");
        answer(&mut client, stream).await.expect("decided");
        let updates = [window_update(0, 100), window_update(stream, 100)].concat();
        let said = [updates, ping(), reset(stream)].concat();
        client.write_all(&said).await.expect("open");
    }
    let exposition = limiter.metrics().await.expect("metrics");
    assert_eq!(exposition.value(FLOODED), 0);
}

/// Takes the messages that are whole, and counts them. Each is a decision.
fn take_decisions(bytes: &mut Vec<u8>) -> u64 {
    let mut decided = 0;
    while let Some((head, rest)) = bytes.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let Some(message) = rest.get(..length) else {
            break;
        };
        let response = CheckStreamResponse::decode(message).expect("a response");
        assert!(matches!(response.result, Some(Outcome::Response(_))));
        decided += 1;
        bytes.drain(..5 + length);
    }
    decided
}
