use std::collections::VecDeque;

use http::uri::Authority;
use proptest::prelude::*;
use tokio::io::AsyncReadExt as _;

use super::*;

/// A connection on which these pieces arrive, one a read.
struct Pieces(VecDeque<Vec<u8>>);

impl Pieces {
    fn of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self(pieces.into_iter().map(<[u8]>::to_vec).collect())
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.0.pop_front() {
            let rest = piece.split_off(piece.len().min(buffer.remaining()));
            buffer.put_slice(&piece);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

/// A literal with the name at `index` of the static table, which joins the dynamic one.
fn literal(index: u8, value: &[u8], huffman: bool) -> Vec<u8> {
    let length = u8::try_from(value.len()).expect("short");
    let mark = if huffman { 0x80 } else { 0 };
    [&[0x40 | index, mark | length], value].concat()
}

fn corrected(flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut payload = payload.to_vec();
    block::correct(flags, &mut payload);
    payload
}

const PATH: &[u8] = b"%2Frun%2Ftoolgate.sock";
const PLAIN: &[u8] = b"-2Frun-2Ftoolgate.sock";

/// `PATH` and `PLAIN` in Huffman's code, as h2 writes them.
const PATH_CODED: &[u8] = b"\x54\x58\x6c\xb6\xa5\x45\x85\x27\x3d\x13\x0d\x25\x5d\x07\x27\x5f";

#[test]
fn what_is_no_authority_becomes_one_of_the_same_length() {
    for (told, seen) in [
        (PATH, PLAIN),
        (b"/run/toolgate.sock", b"-run-toolgate.sock"),
        (
            b"10.0.0.1:7070%2C10.0.0.2:7070",
            b"10.0.0.1-7070-2C10.0.0.2-7070",
        ),
        (b"localhost:1:2", b"localhost-1-2"),
        ("run/t\u{fc}r".as_bytes(), b"run-t--r"),
    ] {
        for name in [&[0x41][..], &[0x01], &[0x11], b"\x40\x0a:authority"] {
            let field = |value: &[u8]| {
                let length = u8::try_from(value.len()).expect("short");
                // POST, a new table size, an indexed field with a long index; and a path behind.
                [b"\x83\x3f\xe1\x1f\xff\x01", name, &[length], value, b"\x84"].concat()
            };
            assert_eq!(corrected(0, &field(told)), field(seen), "{name:?}");
        }
    }
}

#[test]
fn what_is_an_authority_stays() {
    for authority in [
        "localhost",
        "127.0.0.1:7070",
        "[::1]:7070",
        "limiter.toolgate.svc.cluster.local",
        "user%40x@host",
        "outbound_.7070_._.limiter",
    ] {
        let block = literal(1, authority.as_bytes(), false);
        assert_eq!(corrected(0, &block), block, "{authority}");
    }
    // RFC 7541, C.4.1: `www.example.com`.
    let coded = b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
    assert_eq!(
        huffman::decode(coded).as_deref(),
        Some(&b"www.example.com"[..])
    );
    let block = literal(1, coded, true);
    assert_eq!(corrected(0, &block), block);
}

#[test]
fn only_the_authority_is_changed() {
    // The path, and a header whose value says what the authority would be.
    for index in [4, 15] {
        let block = literal(index, PATH, false);
        assert_eq!(corrected(0, &block), block);
    }
    let block = [b"\x40\x0a:authoritx", &[22][..], PATH].concat();
    assert_eq!(corrected(0, &block), block);
}

#[test]
fn huffmans_code_is_changed_in_place() {
    let block = corrected(0, &literal(1, PATH_CODED, true));
    let text = huffman::decode(&block[2..]);
    assert_eq!(text.as_deref(), Some(PLAIN));

    // Every length of a code, and the name as a text.
    let name = b"\xb8\x3b\x53\x39\xec\x32\x7d\x7f";
    assert_eq!(huffman::decode(name).as_deref(), Some(&b":authority"[..]));
    let odd = b"\xfe\x3f\x9f\xeb\xfb\xff\x3f\xd7\xfb\xff\x9f\xf9\xff\xd7\xfe\xff\xf9\xff\xd5\x7f";
    let block = [b"\x40\x88", &name[..], &[0x94], odd].concat();
    let block = corrected(0, &block);
    assert_eq!(
        huffman::decode(odd).as_deref(),
        Some(&b"!\"()?'+|$@[]~%"[..])
    );
    let seen = huffman::decode(&block[11..]);
    assert_eq!(seen.as_deref(), Some(&b"!!!!!+++$$$$$-"[..]));
}

#[test]
fn padding_and_dependencies_are_passed_over() {
    let block = |value| literal(1, value, false);
    let payload = |value| [&[2][..], &[0, 0, 0, 3, 7], &block(value), &[0x41, 0x41]].concat();
    assert_eq!(corrected(0x28, &payload(PATH)), payload(PLAIN));
    let payload = |value| [&[0, 0, 0, 3, 7][..], &block(value)].concat();
    assert_eq!(corrected(0x20, &payload(PATH)), payload(PLAIN));
    // More padding than there is.
    let payload = [&[200][..], &block(PATH)].concat();
    assert_eq!(corrected(0x8, &payload), payload);
}

/// What a client says with `authority`: frames of all kinds, the last of them cut off.
fn conversation(authority: &[u8]) -> Vec<u8> {
    let headers = frame(HEADERS, 4, &literal(1, authority, false));
    [
        &[0x41; MAGIC][..],
        &frame(4, 0, &[0; 6]),
        &headers,
        // In DATA it is a payload.
        &frame(0, 0, &literal(1, PATH, false)),
        &frame(0, 1, &[]),
        &headers,
        &headers,
        &frame(HEADERS, 4, &[]),
        &headers,
        &frame(HEADERS, 4, &literal(1, PATH, false))[..20],
    ]
    .concat()
}

async fn read(pieces: Pieces, at_a_time: usize) -> Vec<u8> {
    let mut connection = Authorities::of(pieces, Arc::default());
    let mut all = Vec::new();
    let mut buffer = vec![0; at_a_time];
    loop {
        match connection.read(&mut buffer).await.expect("no error") {
            0 => return all,
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}

#[tokio::test]
async fn pieces_are_read_as_the_whole_is() {
    let (said, expected) = (conversation(PATH), conversation(PLAIN));
    for size in 1..said.len() {
        for at_a_time in [1, 7, 4_096] {
            let seen = read(Pieces::of(said.chunks(size)), at_a_time).await;
            assert_eq!(seen, expected, "{size} bytes at a time");
        }
    }
    for split in 0..said.len() {
        let pieces = [&said[..split], &said[split..]];
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
        assert_eq!(read(Pieces::of(pieces), 4_096).await, expected, "{split}");
    }
}

#[tokio::test]
async fn no_more_is_held_than_one_frame() {
    let start = frame(HEADERS, 4, &vec![0; MAX_PAYLOAD]);
    let pieces = [&[0x41; MAGIC][..], &start[..MAX_PAYLOAD]];
    let mut connection = Authorities::of(Pieces::of(pieces), Arc::default());
    let mut head = [0; MAGIC + HEAD];
    connection.read_exact(&mut head).await.expect("here");
    let mut buffer = [0; 100];
    let _ = connection.read(&mut buffer).await.expect("the end");
    assert!(
        connection.held.len() < MAX_PAYLOAD,
        "{}",
        connection.held.len()
    );
    // One that is longer is refused by h2, and not held.
    let long = frame(HEADERS, 4, &vec![0; MAX_PAYLOAD + 1]);
    let pieces = [&[0x41; MAGIC][..], &long[..MAX_PAYLOAD]];
    let mut connection = Authorities::of(Pieces::of(pieces), Arc::default());
    let mut all = vec![0; MAGIC + MAX_PAYLOAD];
    connection.read_exact(&mut all).await.expect("here");
    assert!(connection.held.is_empty());
}

proptest! {
    #[test]
    fn any_payload_can_be_looked_at(flags: u8, payload: Vec<u8>) {
        let once = corrected(flags, &payload);
        prop_assert_eq!(corrected(flags, &once), once);
    }

    #[test]
    fn any_name_becomes_an_authority(name in "[ -~]{1,60}") {
        let block = corrected(0, &literal(1, name.as_bytes(), false));
        prop_assert!(Authority::try_from(&block[2..]).is_ok());
    }
}
