//! All attacks at once, beside honest callers.
//!
//! An attack is a loop over `Pace::goes_on` that counts its deeds and says what it got. A new one needs a
//! function and a line in `ATTACKS`.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep},
};
use tonic::{Code, Request};
use toolgate_proto::pb::{
    CheckStreamRequest, PeekRequest, check_stream_response::Result as Outcome,
};
use toolgate_tests::{Limiter, RedisServer, of_user};

use crate::{
    frames::{HEADERS, PREFACE, answer, call, connect, ended, part, reset},
    shares::{decided, unread},
};

const GENEROUS: &str = "perUser: {maxTokens: 1000000, refillPeriod: 24h}";

/// The deadline of each honest check. A gateway has 50 ms by default; this is for a debug build on two
/// cores that others use.
const DEADLINE: Duration = Duration::from_secs(2);

/// The shortest pause of an attacker between two deeds.
const PAUSE: Duration = Duration::from_millis(20);

/// A pause is so many times as long as the deed before it. Attackers share the machine with the limiter, and
/// it is the limiter's own bounds that are tested: a busy machine must slow down both.
const PAUSES_PER_DEED: u32 = 3;

const HONEST: usize = 4;
const CHECKS: usize = 250;

struct Arena {
    limiter: Limiter,
    is_over: AtomicBool,
}

/// How fast one attacker goes.
struct Pace<'a> {
    arena: &'a Arena,
    since: Instant,
}

impl Arena {
    fn pace(&self) -> Pace<'_> {
        Pace {
            arena: self,
            since: Instant::now(),
        }
    }
}

impl Pace<'_> {
    /// Whether there is to be another deed, after a pause.
    async fn goes_on(&mut self) -> bool {
        sleep(PAUSE.max(self.since.elapsed() * PAUSES_PER_DEED)).await;
        self.since = Instant::now();
        !self.arena.is_over.load(Ordering::Relaxed)
    }
}

/// What an attacker did, and how much of it was refused, ended, taken back or left unanswered.
#[derive(Clone, Copy, Debug, Default)]
struct Got {
    deeds: usize,
    stopped: usize,
}

type Attack = fn(Arc<Arena>) -> BoxFuture<'static, Got>;

const ATTACKS: [(&str, Attack); 8] = [
    ("no window", |arena| no_window(arena).boxed()),
    ("half messages", |arena| half_messages(arena).boxed()),
    ("looks", |arena| looks(arena).boxed()),
    ("silence on gRPC", |arena| silence(arena, false).boxed()),
    ("silence on HTTP", |arena| silence(arena, true).boxed()),
    ("rapid reset", |arena| rapid_reset(arena).boxed()),
    ("headers", |arena| headers(arena).boxed()),
    ("garbage", |arena| garbage(arena).boxed()),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_attacks_together_cost_no_honest_caller_a_decision() {
    let redis = RedisServer::start().await.expect("Redis");
    let arguments = [
        "--store",
        &redis.url(),
        "--store-timeout",
        "20s",
        "--connections-handshake-timeout",
        "500ms",
        "--connections-message-timeout",
        "500ms",
    ];
    let limiter = Limiter::of_spec(GENEROUS, arguments).await;
    let arena = Arc::new(Arena {
        limiter: limiter.expect("a limiter"),
        is_over: AtomicBool::new(false),
    });
    let alone = Times::of_callers(&arena.limiter).await;
    let attackers = ATTACKS.map(|(name, attack)| (name, tokio::spawn(attack(Arc::clone(&arena)))));
    // All of them are at it.
    sleep(Duration::from_secs(1)).await;
    let among = Times::of_callers(&arena.limiter).await;
    arena.is_over.store(true, Ordering::Relaxed);
    for (name, attacker) in attackers {
        let got = attacker.await.expect("it was alive to the end");
        println!("{name}: {got:?}");
        assert!(got.deeds > 0 && got.stopped > 0, "{name}: {got:?}");
    }
    println!("honest checks alone: {alone}, among attackers: {among}");
    assert!(among.of(99) < DEADLINE, "{among}");
}

/// How long honest checks took, the shortest first.
struct Times(Vec<Duration>);

impl Times {
    /// Of all honest callers, at the same time.
    async fn of_callers(limiter: &Limiter) -> Self {
        let callers = (0..HONEST).map(|number| honest(limiter, number));
        let times: Vec<_> = callers.collect::<FuturesUnordered<_>>().collect().await;
        let mut times = times.concat();
        times.sort_unstable();
        Self(times)
    }

    fn of(&self, hundredths: usize) -> Duration {
        self.0[self.0.len() * hundredths / 100]
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "median {:?}, p99 {:?}", self.of(50), self.of(99))
    }
}

/// How long each of `CHECKS` took. All are decided in time, and by the store.
async fn honest(limiter: &Limiter, number: usize) -> Vec<Duration> {
    let mut client = limiter.client().await.expect("a connection");
    let mut times = Vec::new();
    for _ in 0..CHECKS {
        let mut request = Request::new(of_user(&format!("alice-{number}")));
        request.set_timeout(DEADLINE);
        let began = Instant::now();
        let answer = client.check(request).await.expect("decided");
        assert!(!answer.get_ref().degraded, "decided by the store");
        times.push(began.elapsed());
        sleep(Duration::from_millis(1)).await;
    }
    times
}

/// 20 streams of 2,048 checks, whose answers nobody reads. It is stopped short of all its checks.
async fn no_window(arena: Arc<Arena>) -> Got {
    const ASKED: usize = 20 * 2_048;
    let streams = unread(&arena.limiter, 20, 2_048).await;
    let mut pace = arena.pace();
    while pace.goes_on().await {}
    let decided = usize::try_from(decided(&arena.limiter).await).expect("few");
    let of_honest = 2 * HONEST * CHECKS;
    drop(streams);
    Got {
        deeds: decided.saturating_sub(of_honest),
        stopped: (ASKED + of_honest).saturating_sub(decided),
    }
}

/// Messages whose end does not come. Their streams are ended.
async fn half_messages(arena: Arc<Arena>) -> Got {
    let half = [&[0, 0, 0, 0x3f, 0][..], &[0; 16_000]].concat();
    let (mut got, mut pace) = (Got::default(), arena.pace());
    let mut open = VecDeque::new();
    while pace.goes_on().await {
        let mut attacker = connect(&arena.limiter).await;
        let begun = call(1, "/toolgate.v1.LimiterService/CheckStream", &[]);
        let said = [PREFACE, &begun, &part(1, &half)].concat();
        got.deeds += usize::from(attacker.write_all(&said).await.is_ok());
        open.push_back(attacker);
        if open.len() > 20
            && let Some(mut oldest) = open.pop_front()
        {
            got.stopped += usize::from(answer(&mut oldest, 1).await == Err(HEADERS));
        }
    }
    got
}

/// Looks at buckets, 100 at a time. More than a connection may have in flight are refused.
async fn looks(arena: Arc<Arena>) -> Got {
    let client = arena.limiter.client().await.expect("a connection");
    let (mut got, mut pace) = (Got::default(), arena.pace());
    while pace.goes_on().await {
        let looks = (0..100).map(|_| {
            let mut client = client.clone();
            async move {
                let check = Some(of_user("mallory"));
                client.peek(PeekRequest { check }).await
            }
        });
        let mut answers = looks.collect::<FuturesUnordered<_>>();
        while let Some(answer) = answers.next().await {
            got.deeds += 1;
            let refused = answer.is_err_and(|status| status.code() == Code::ResourceExhausted);
            got.stopped += usize::from(refused);
        }
    }
    got
}

/// Connections on which nothing is said. They are closed, or make room for others.
async fn silence(arena: Arc<Arena>, on_http: bool) -> Got {
    let (mut got, mut pace) = (Got::default(), arena.pace());
    let mut silent = Vec::new();
    while pace.goes_on().await {
        for _ in 0..6 {
            let connection = if on_http {
                TcpStream::connect(arena.limiter.http_address()).await
            } else {
                Ok(connect(&arena.limiter).await)
            };
            silent.extend(connection);
            got.deeds += 1;
        }
        if silent.len() > 400 {
            for mut connection in silent.drain(..100) {
                got.stopped += usize::from(is_closed(&mut connection));
            }
        }
    }
    got
}

/// CVE-2023-44487: calls that are reset as soon as they are made. None is answered, and the connection
/// is ended.
async fn rapid_reset(arena: Arc<Arena>) -> Got {
    let (mut got, mut pace) = (Got::default(), arena.pace());
    while pace.goes_on().await {
        let mut attacker = connect(&arena.limiter).await;
        let calls = (0..100).flat_map(|number| {
            let stream = 2 * number + 1;
            let begun = call(stream, "/toolgate.v1.LimiterService/CheckStream", &[]);
            [begun, reset(stream)].concat()
        });
        let said: Vec<_> = PREFACE.iter().copied().chain(calls).collect();
        got.deeds += 100;
        // It may be closed in the middle.
        let _ = attacker.write_all(&said).await;
        got.stopped += usize::from(ended(&mut attacker).await.is_some());
    }
    got
}

/// Headers beyond 16 KiB. The calls are refused.
async fn headers(arena: Arc<Arena>) -> Got {
    let client = arena.limiter.client().await.expect("a connection");
    let (mut got, mut pace) = (Got::default(), arena.pace());
    while pace.goes_on().await {
        let mut request = Request::new(of_user("mallory"));
        let long = "x".repeat(17_000).parse().expect("ASCII");
        request.metadata_mut().insert("x-long", long);
        got.deeds += 1;
        got.stopped += usize::from(client.clone().check(request).await.is_err());
    }
    got
}

/// What is no HTTP/2, and checks of nothing. Each is refused.
async fn garbage(arena: Arc<Arena>) -> Got {
    let client = arena.limiter.client().await.expect("a connection");
    let (mut got, mut pace) = (Got::default(), arena.pace());
    while pace.goes_on().await {
        let mut noise = connect(&arena.limiter).await;
        // It may be closed at the first bytes.
        let _ = noise.write_all(&[0x5a; 4_096]).await;
        let nothing = CheckStreamRequest::default();
        let requests = futures::stream::iter(vec![nothing; 100]);
        let Ok(answers) = client.clone().check_stream(requests).await else {
            continue;
        };
        let answers = answers.into_inner().collect::<Vec<_>>().await;
        let refused = answers.iter().flatten();
        let refused = refused.filter(|answer| matches!(answer.result, Some(Outcome::Error(_))));
        got.deeds += answers.len();
        got.stopped += refused.count();
    }
    got
}

/// Whether the other side has closed a connection.
fn is_closed(connection: &mut TcpStream) -> bool {
    let mut said = [0; 4_096];
    loop {
        match connection.read(&mut said).now_or_never() {
            Some(Ok(0) | Err(_)) => return true,
            Some(Ok(_)) => {}
            None => return false,
        }
    }
}
