//! Any frames on a connection to the gRPC port, through HTTP/2, the services and the memory store, on
//! paused time: no task panics, the connection ends by itself soon after its client has fallen
//! silent, nothing stays in flight, and the limiter keeps to the windows and streams of its client.
//!
//! The input is a list of steps, or else hardly anything would get past the first frame. A step is a
//! byte that says what to send, and the bytes that it takes.

use std::{
    cell::RefCell,
    panic,
    sync::{
        Arc, Once,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, duplex, split},
    runtime::{Builder, Runtime},
    time::{Instant, sleep, timeout},
};
use toolgate_limit::GoDuration;
use toolgate_server::{Config, ConnectionSettings, InProcess, Listen, Server, Settings};

const POLICIES: &str = r"
apiVersion: toolgate.dev/v1alpha1
kind: RateLimitPolicy
metadata: {namespace: test, name: server}
spec:
  global: {maxTokens: 1000000, refillPeriod: 1m}
  perUser: {maxTokens: 3, refillPeriod: 1m}
  tools: [{name: search, perUser: {maxTokens: 1, refillPeriod: 1h}}]
";

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

/// The longest time that a silent connection is kept: a ping after 30 s is answered within 10 s; a call may
/// wait 30 s for its request.
const LONGEST: Duration = Duration::from_secs(90);

/// The window of a connection that says nothing of it.
const WINDOW: u64 = 65_535;

/// So often a limiter is used, as time never goes back.
const USES: usize = 10_000;

thread_local! {
    static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
}

/// Panics of all threads. One in a task is seen by nobody else.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Says `input` on a connection. Whether a message came back.
pub(crate) fn accepts(input: &[u8]) -> bool {
    count_panics();
    STAGE.with_borrow_mut(|stage| {
        if stage.as_ref().is_none_or(|stage| stage.uses >= USES) {
            *stage = Some(Stage::new());
        }
        let stage = stage.as_mut().expect("a stage");
        stage.uses += 1;
        let script = Script::of(input);
        let before = PANICS.load(Ordering::SeqCst);
        let said = stage.runtime.block_on(converse(&stage.limiter, &script));
        assert_eq!(PANICS.load(Ordering::SeqCst), before, "a task has panicked");
        judge(&script, &said)
    })
}

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if is_known(panic) {
                return;
            }
            PANICS.fetch_add(1, Ordering::SeqCst);
            before(panic);
        }));
    });
}

/// h2 0.4.20 may still count a stream when the state of its connection is dropped, and asserts that it
/// does not where debug assertions are on. All that it counts is dropped then; in a release build
/// nothing happens.
fn is_known(panic: &panic::PanicHookInfo<'_>) -> bool {
    let file = panic.location().map(panic::Location::file);
    file.is_some_and(|file| file.ends_with("src/proto/streams/counts.rs"))
        && panic.payload_as_str() == Some("assertion failed: !self.has_streams()")
}

struct Stage {
    runtime: Runtime,
    limiter: Arc<InProcess>,
    uses: usize,
}

impl Stage {
    fn new() -> Self {
        let mut builder = Builder::new_current_thread();
        let builder = builder.enable_all().start_paused(true);
        let runtime = builder.build().expect("a runtime");
        let limiter = runtime.block_on(limiter());
        Self {
            runtime,
            limiter: Arc::new(limiter),
            uses: 0,
        }
    }
}

async fn limiter() -> InProcess {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let file = format!("toolgate-frames-{}-{number}.yaml", std::process::id());
    let file = std::env::temp_dir().join(file);
    std::fs::write(&file, POLICIES).expect("a file");
    let free = Some(Listen::Tcp(([127, 0, 0, 1], 0).into()));
    let settings = Settings {
        policies: vec![file.clone()],
        grpc_listen: free.clone(),
        http_listen: free,
        metrics: Some(false),
        memory_max_users: Some(100),
        max_in_flight: std::num::NonZeroUsize::new(4),
        connections: ConnectionSettings {
            max_streams: Some(16),
            max_calls: Some(8),
            max_age: Some(GoDuration(Duration::ZERO)),
            ..ConnectionSettings::default()
        },
        ..Settings::default()
    };
    let config = Config::try_from(settings).expect("settings");
    let limiter = Server::bind(&config).await.expect("a limiter");
    std::fs::remove_file(&file).expect("removed");
    limiter.in_process().expect("descriptors")
}

/// What is said on a connection, and how.
#[derive(Default)]
struct Script {
    /// Written one after the other, with a pause for the limiter where a step wants one.
    parts: Vec<Part>,
    /// Nothing is read before all is written and the limiter may have given up.
    reads_late: bool,
    /// The connection is closed after the last byte.
    hangs_up: bool,
    /// It has only whole frames.
    is_framed: bool,
    /// The bytes of DATA that the limiter may send.
    window: u64,
    /// The highest stream that was opened.
    last: u32,
}

enum Part {
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
    fn of(input: &[u8]) -> Self {
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

/// Plays `script` to the end of its connection. What the limiter has said.
async fn converse(limiter: &Arc<InProcess>, script: &Script) -> Vec<u8> {
    let began = Instant::now();
    let (near, far) = duplex(64 * 1024);
    let (mut from, mut to) = split(far);
    let serving = Arc::clone(limiter);
    let serving = tokio::spawn(async move { serving.serve(near).await });
    let mut paused = Duration::ZERO;
    let writing = async {
        for part in &script.parts {
            match part {
                // It may have hung up.
                Part::Bytes(bytes) => {
                    if to.write_all(bytes).await.is_err() {
                        break;
                    }
                }
                Part::Pause(pause) => {
                    paused += *pause;
                    sleep(*pause).await;
                }
            }
        }
        if script.hangs_up {
            let _ = to.shutdown().await;
        }
    };
    let mut said = Vec::new();
    let reading = async {
        if script.reads_late {
            sleep(LONGEST).await;
        }
        // A reset is an end as well.
        let _ = from.read_to_end(&mut said).await;
    };
    let end = async { tokio::join!(writing, reading) };
    let ended = timeout(Duration::from_hours(24), end).await;
    ended.expect("the limiter ends the connection");
    // Panics are counted elsewhere.
    let _ = serving.await;
    let took = began.elapsed();
    assert!(
        took <= paused + LONGEST + Duration::from_secs(1),
        "{took:?}"
    );
    let idle = async {
        while limiter.in_flight() != (0, 0) {
            sleep(Duration::from_secs(1)).await;
        }
    };
    let idle = timeout(LONGEST, idle).await;
    idle.unwrap_or_else(|_| panic!("in flight: {:?}", limiter.in_flight()));
    said
}

/// Whether a message came back.
fn judge(script: &Script, mut said: &[u8]) -> bool {
    let mut sent = 0;
    let mut ended = Vec::new();
    while let Some((head, rest)) = said.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let (kind, is_end) = (head[3], head[4] & 1 != 0);
        // What is cut off was on its way when the connection ended.
        said = rest.get(length as usize..).unwrap_or_default();
        assert!(
            matches!(kind, 0 | 1 | 3 | 4 | 6 | 7 | 8),
            "a frame of kind {kind}"
        );
        if kind > 1 {
            continue;
        }
        sent += u64::from(if kind == 0 { length } else { 0 });
        assert!(!ended.contains(&stream), "stream {stream} has ended");
        if is_end {
            ended.push(stream);
        }
        if script.is_framed {
            assert!(stream % 2 == 1 && stream <= script.last, "stream {stream}");
            assert!(sent <= script.window, "{sent} of {}", script.window);
        }
    }
    sent > 0
}
