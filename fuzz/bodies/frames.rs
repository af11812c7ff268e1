//! Any frames on a connection to the gRPC port, through HTTP/2, the services and the memory store, on
//! paused time: no task panics, the connection ends by itself soon after its client has fallen
//! silent, nothing stays in flight, and the limiter keeps to the windows and streams of its client.

#[path = "frames/script.rs"]
mod script;

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

use script::{Part, Script};

const POLICIES: &str = r"
apiVersion: toolgate.dev/v1alpha1
kind: RateLimitPolicy
metadata: {namespace: test, name: server}
spec:
  global: {maxTokens: 1000000, refillPeriod: 1m}
  perUser: {maxTokens: 3, refillPeriod: 1m}
  tools: [{name: search, perUser: {maxTokens: 1, refillPeriod: 1h}}]
";

/// The longest time that a silent connection is kept: a ping after 30 s is answered within 10 s; a call may
/// wait 30 s for its request.
const LONGEST: Duration = Duration::from_secs(90);

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
