//! What is said on a connection: a list of steps, or else hardly anything would get past the first frame. A step
//! is a byte that says what to send, and the bytes that it takes.

use std::time::Duration;

/// The paths that a step may call.
const PATHS: [&str; 12] = [
    "/toolgate.v1.LimiterService/Check",
    "/toolgate.v1.LimiterService/CheckStream",
    "/toolgate.v1.LimiterService/Peek",
    "/toolgate.v1.AdminService/ListPolicies",
    "/toolgate.v1.AdminService/ListBuckets",
    "/toolgate.v1.AdminService/ResetBuckets",
    "/toolgate.v1.AdminService/GetActivity",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/nothing",
];

/// What a step may say in the headers of its call beside the path.
const HEADERS: [&[(&str, &str)]; 8] = [
    &[("content-type", "application/grpc")],
    &[
        ("content-type", "application/grpc+proto"),
        ("te", "trailers"),
    ],
    &[
        ("content-type", "application/grpc"),
        ("grpc-timeout", "10m"),
    ],
    &[
        ("content-type", "application/grpc"),
        ("grpc-encoding", "gzip"),
    ],
    &[("content-type", "application/grpc"), ("x-request-id", "a")],
    &[("content-type", "application/json")],
    &[
        ("content-type", "application/grpc"),
        ("content-length", "7"),
    ],
    &[],
];

const AUTHORITIES: [&str; 4] = ["localhost", "%2Frun%2Fa.sock", "/run/a.sock", "a:1%2Cb:2"];

const MAGIC: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The window of a connection that says nothing of it.
const WINDOW: u64 = 65_535;
/// What is said on a connection, and how.
#[derive(Default)]
pub(super) struct Script {
    /// Written one after the other, with a pause for the limiter where a step wants one.
    pub(super) parts: Vec<Part>,
    /// Nothing is read before all is written and the limiter may have given up.
    pub(super) reads_late: bool,
    /// The connection is closed after the last byte.
    pub(super) hangs_up: bool,
    /// It has only whole frames.
    pub(super) is_framed: bool,
    /// The bytes of DATA that the limiter may send.
    pub(super) window: u64,
    /// The highest stream that was opened.
    pub(super) last: u32,
}

pub(super) enum Part {
    Bytes(Vec<u8>),
    Pause(Duration),
}

/// The rest of an input.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    /// As many bytes as the next one says, or what there is.
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.byte()?).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(bytes)
    }
}

impl Script {
    pub(super) fn of(input: &[u8]) -> Self {
        let mut input = Input(input);
        let manner = input.byte().unwrap_or_default();
        let mut script = Self {
            reads_late: manner & 1 != 0,
            hangs_up: manner & 2 != 0,
            is_framed: true,
            window: WINDOW,
            ..Self::default()
        };
        if manner & 4 == 0 {
            script.parts.push(Part::Bytes(MAGIC.to_vec()));
            script.frame(4, 0, 0, &[]);
        } else {
            script.is_framed = false;
        }
        while let Some(step) = input.byte() {
            // A step whose bytes are missing is the last one.
            let _ = script.step(step, &mut input);
        }
        script
    }

    fn step(&mut self, step: u8, input: &mut Input<'_>) -> Option<()> {
        match step % 12 {
            0 => {
                let stream = self.open(input)?;
                let message = message(input.bytes()?, 0);
                self.frame(0, 1, stream, &message);
            }
            1 => {
                self.open(input)?;
            }
            2 => {
                let (stream, flags) = (self.stream(input)?, input.byte()?);
                let message = message(input.bytes()?, flags >> 1);
                self.frame(0, flags & 1, stream, &message);
            }
            3 => {
                let (stream, flags) = (self.stream(input)?, input.byte()?);
                self.frame(0, flags, stream, input.bytes()?);
            }
            4 => {
                let (kind, flags, stream) = (input.byte()?, input.byte()?, input.byte()?);
                self.frame(kind, flags, stream.into(), input.bytes()?);
            }
            5 => {
                let (id, value, shift) = (input.byte()?, input.byte()?, input.byte()?);
                let value = u32::from(value) << (shift % 32);
                let setting = [&[0, id % 10][..], &value.to_be_bytes()].concat();
                self.frame(4, 0, 0, &setting);
            }
            6 => {
                let stream = input.byte()?;
                let stream = if stream == 0 { 0 } else { self.back(stream) };
                let increment = u32::from(input.byte()?) << (input.byte()? % 24);
                self.frame(8, 0, stream, &increment.to_be_bytes());
            }
            7 => {
                let (stream, code) = (self.stream(input)?, input.byte()?);
                self.frame(3, 0, stream, &[0, 0, 0, code]);
            }
            8 => {
                let flags = input.byte()?;
                let stream = self.next();
                self.frame(1, flags, stream, input.bytes()?);
            }
            9 => {
                let (stream, count) = (self.stream(input)?, input.byte()?);
                for _ in 0..count % 8 {
                    self.frame(0, 0, stream, &[0; 16_000]);
                }
            }
            10 => {
                let seconds = u64::from(input.byte()? % 40);
                self.parts.push(Part::Pause(Duration::from_secs(seconds)));
            }
            _ => {
                self.is_framed = false;
                self.parts.push(Part::Bytes(input.bytes()?.to_vec()));
            }
        }
        Some(())
    }

    /// Opens the next stream, with the headers of a call.
    fn open(&mut self, input: &mut Input<'_>) -> Option<u32> {
        let (path, choice) = (input.byte()?, input.byte()?);
        let path = PATHS[usize::from(path) % PATHS.len()];
        let authority = AUTHORITIES[usize::from(choice >> 3) % AUTHORITIES.len()];
        // POST and http (RFC 7541, appendix A).
        let mut block = vec![0x83, 0x86];
        block.extend([0x41, u8::try_from(authority.len()).expect("short")]);
        block.extend(authority.as_bytes());
        let headers = HEADERS[usize::from(choice) % HEADERS.len()];
        for (name, value) in [(":path", path)].iter().chain(headers) {
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).expect("short"));
                block.extend(text.as_bytes());
            }
        }
        let stream = self.next();
        self.frame(1, 4, stream, &block);
        Some(stream)
    }

    fn next(&self) -> u32 {
        if self.last == 0 {
            1
        } else {
            (self.last | 1) + 2
        }
    }

    /// One of the streams that were opened, counted back from the last.
    fn stream(&self, input: &mut Input<'_>) -> Option<u32> {
        Some(self.back(input.byte()?))
    }

    fn back(&self, count: u8) -> u32 {
        (self.last | 1)
            .saturating_sub(2 * u32::from(count % 8))
            .max(1)
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        if kind == 1 {
            self.last = self.last.max(stream);
        }
        if let (8, 0, &[a, b, c, d]) = (kind, stream, payload) {
            self.window += u64::from(u32::from_be_bytes([a & 0x7f, b, c, d]));
        }
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        let mut frame = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        frame.extend(payload);
        self.parts.push(Part::Bytes(frame));
    }
}

/// A message as gRPC has it, or nearly.
fn message(bytes: &[u8], oddity: u8) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("short");
    let length = match oddity % 4 {
        1 => length + 1,
        2 => 1 << 21,
        _ => length,
    };
    let compressed = u8::from(oddity % 4 == 3);
    [&[compressed], &length.to_be_bytes()[..], bytes].concat()
}
