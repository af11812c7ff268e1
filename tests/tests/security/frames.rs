//! HTTP/2 by the byte, as no honest client writes it.

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use toolgate_tests::{Limiter, PATIENCE};

/// What a client begins with: the magic, and settings that set nothing.
pub(crate) const PREFACE: &[u8] =
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// The same, with a window of 0 for what each stream is answered.
pub(crate) const PREFACE_WITHOUT_WINDOW: &[u8] =
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00";

/// The kind of a frame with headers.
pub(crate) const HEADERS: u8 = 1;

pub(crate) const PING: u8 = 6;

pub(crate) const DATA: u8 = 0;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;

/// The flag of headers that are whole.
const END_HEADERS: u8 = 4;

/// The flag of the last frame of a stream.
const END_STREAM: u8 = 1;

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
    call_as(stream, path, &literal(1, b"localhost", false), more)
}

/// The same, with `authority` as the field that says what the server is called.
pub(crate) fn call_as(stream: u32, path: &str, authority: &[u8], more: &[(&str, &str)]) -> Vec<u8> {
    // POST and http (RFC 7541, appendix A).
    let mut block = vec![0x83, 0x86];
    block.extend(authority);
    let fields = [
        (":path", path),
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
    frame_of(HEADERS, END_HEADERS, stream, &block)
}

/// A literal with the name at `index` of the static table, which joins the dynamic one (RFC 7541,
/// section 6.2.1).
pub(crate) fn literal(index: u8, value: &[u8], huffman: bool) -> Vec<u8> {
    let length = u8::try_from(value.len()).expect("short");
    let mark = if huffman { 0x80 } else { 0 };
    [&[0x40 | index, mark | length], value].concat()
}

/// A message as gRPC sends it.
pub(crate) fn message(message: &impl prost::Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    [&[0], &length[..], &message].concat()
}

/// The whole request of a call.
pub(crate) fn data(stream: u32, body: &[u8]) -> Vec<u8> {
    frame_of(DATA, END_STREAM, stream, body)
}

/// Bytes of a request that goes on.
pub(crate) fn part(stream: u32, body: &[u8]) -> Vec<u8> {
    frame_of(DATA, 0, stream, body)
}

/// Takes back a call.
pub(crate) fn reset(stream: u32) -> Vec<u8> {
    const CANCEL: [u8; 4] = [0, 0, 0, 8];
    frame_of(RST_STREAM, 0, stream, &CANCEL)
}

/// Asks for a sign of life.
pub(crate) fn ping() -> Vec<u8> {
    frame_of(PING, 0, 0, &[7; 8])
}

/// Lets the other side send `more` bytes on `stream`, or on all of them (0).
pub(crate) fn window_update(stream: u32, more: u32) -> Vec<u8> {
    const WINDOW_UPDATE: u8 = 8;
    frame_of(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

pub(crate) fn frame_of(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// Reads frames until `stream` is answered: with a message, or else by the kind of frame that ended the
/// stream or the connection.
pub(crate) async fn answer(connection: &mut TcpStream, stream: u32) -> Result<Vec<u8>, u8> {
    let read = async {
        loop {
            let (kind, flags, id, payload) = any_frame(connection).await.expect("a frame");
            let is_end = flags & END_STREAM != 0;
            match kind {
                DATA if id == stream => return Ok(payload),
                RST_STREAM | GOAWAY => return Err(kind),
                HEADERS if id == stream && is_end => return Err(kind),
                _ => {}
            }
        }
    };
    timeout(PATIENCE, read).await.expect("it is answered")
}

/// The kind, flags, stream and payload of the next frame. None: the connection has ended.
pub(crate) async fn any_frame(
    connection: &mut (impl AsyncRead + Unpin),
) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    connection.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    connection.read_exact(&mut payload).await.ok()?;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some((head[3], head[4], stream, payload))
}

/// Reads until the other side ends the connection, and returns the code of its GOAWAY, if it sent one.
pub(crate) async fn ended(connection: &mut TcpStream) -> Option<u32> {
    let said = closed(connection).await;
    let (mut rest, mut code) = (&said[..], None);
    while let Some((head, after)) = rest.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some((payload, after)) = after.split_at_checked(length) else {
            break;
        };
        if head[3] == GOAWAY {
            let of_code = payload.get(4..).and_then(<[u8]>::first_chunk);
            code = of_code.copied().map(u32::from_be_bytes);
        }
        rest = after;
    }
    code
}

/// Reads frames until one of `kind`, and returns its payload.
pub(crate) async fn frame(stream: &mut TcpStream, kind: u8) -> Vec<u8> {
    let read = async {
        loop {
            let (of, _, _, payload) = any_frame(stream).await.expect("a frame");
            if of == kind {
                return payload;
            }
        }
    };
    timeout(PATIENCE, read).await.expect("it comes")
}
