//! A call by the byte (RFC 9113), of a client that waits longer than it says.

use prost::Message as _;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use toolgate_proto::pb::CheckRequest;
use toolgate_tests::Limiter;

/// The magic, and settings that set nothing.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// Kinds of frames and their last flags: the end of the headers, and of the stream.
const HEADERS: (u8, u8) = (1, 4);
const DATA: (u8, u8) = (0, 1);

/// Calls `Check` with this `grpc-timeout`. The call is in flight as long as the connection lives.
pub(crate) async fn call(limiter: &Limiter, check: &CheckRequest, timeout: &str) -> TcpStream {
    let (_, address) = limiter.endpoint().split_once("://").expect("a URL");
    let headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/toolgate.v1.LimiterService/Check"),
        (":authority", address),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", timeout),
    ];
    let headers: Vec<u8> = headers.into_iter().flat_map(literal).collect();
    let check = check.encode_to_vec();
    let length = u32::try_from(check.len()).expect("a short check");
    // Not compressed, and so long.
    let message = [&[0], &length.to_be_bytes()[..], &check].concat();
    let sent = [PREFACE, &frame(HEADERS, &headers), &frame(DATA, &message)].concat();
    let mut connection = TcpStream::connect(address).await.expect("a connection");
    connection.write_all(&sent).await.expect("sent");
    connection
}

/// A header in full, in no table (RFC 7541, section 6.2.2).
fn literal((name, value): (&str, &str)) -> Vec<u8> {
    let text = |text: &str| {
        let length = u8::try_from(text.len()).expect("a short text");
        assert!(length < 127, "it needs one byte");
        [&[length], text.as_bytes()].concat()
    };
    [vec![0], text(name), text(value)].concat()
}

/// A frame of the first stream.
fn frame((kind, flags): (u8, u8), payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame");
    let head = [
        &length.to_be_bytes()[1..],
        &[kind, flags],
        &1_u32.to_be_bytes(),
    ]
    .concat();
    [&head, payload].concat()
}
