//! HTTP/2 by the byte, as no honest client writes it.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use toolgate_tests::{Limiter, PATIENCE};

/// What a client begins with: the magic, and settings that set nothing.
pub(crate) const PREFACE: &[u8] =
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// The kind of a frame with headers.
pub(crate) const HEADERS: u8 = 1;

/// Its flag for being whole.
const END_HEADERS: u8 = 4;

pub(crate) async fn connect(limiter: &Limiter) -> TcpStream {
    let (_, address) = limiter.endpoint().split_once("://").expect("a URL");
    TcpStream::connect(address).await.expect("a connection")
}

/// Waits until the other side closes the connection. What it says before is returned.
pub(crate) async fn closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    // A reset is an end as well.
    let end = timeout(PATIENCE, stream.read_to_end(&mut said)).await;
    let _ = end.expect("it is closed");
    said
}

/// Sends one byte after the other until the connection is closed.
pub(crate) async fn trickle(stream: &mut TcpStream, bytes: &[u8]) {
    for byte in bytes.iter().cycle() {
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The headers of a call of `path` on `stream`, whose request is to follow.
pub(crate) fn call(stream: u32, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    for (name, value) in fields.iter().chain(more) {
        // A literal that is not indexed (RFC 7541, section 6.2.2).
        block.push(0);
        for text in [name, value] {
            assert!(
                text.len() < 127,
                "longer ones take more bytes for their length"
            );
            block.push(u8::try_from(text.len()).expect("short"));
            block.extend(text.as_bytes());
        }
    }
    let length = u32::try_from(block.len()).expect("short").to_be_bytes();
    let mut frame = [&length[1..], &[HEADERS, END_HEADERS], &stream.to_be_bytes()].concat();
    frame.extend(block);
    frame
}

/// Reads frames until one of `kind`, and returns its payload.
pub(crate) async fn frame(stream: &mut TcpStream, kind: u8) -> Vec<u8> {
    let read = async {
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.expect("a frame");
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            stream.read_exact(&mut payload).await.expect("its payload");
            if head[3] == kind {
                return payload;
            }
        }
    };
    timeout(PATIENCE, read).await.expect("it comes")
}
