//! One user attacks in every way at once, and another goes on calling.
//!
//! An attack is a loop over `Pace::goes_on` that counts its deeds and says what it got. A new one needs a
//! function and a line in `ATTACKS`.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture, future::join_all};
use serde_json::json;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use toolgate_tests::eventually;

use crate::{
    backend::Backend,
    caller::{Caller, http},
    issuer::Issuer,
    replica::Replica,
    wire::{LIVEZ, answer, call, is_closed, post, says},
};

/// How many connections there may be; the attacks need more.
const CONNECTIONS: usize = 64;

/// Calls of the attacker that may be in flight.
const SLOTS: usize = 4;

/// The honest caller's calls with and without attacks, and the deadline of each.
const CALLS: usize = 200;
const DEADLINE: Duration = Duration::from_secs(5);

/// How many times as long the p99 may be among attacks as alone. Attackers share the processors with the
/// gateway, so it is never 1.
const MOST: f64 = 20.0;

/// The shortest pause of an attacker between two deeds, and how many times as long as the deed it is. It is
/// the bounds that are tested, so a busy machine must slow down both sides.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSES_PER_DEED: u32 = 3;

struct Arena {
    replica: Replica,
    /// The attacker's.
    token: String,
    is_over: AtomicBool,
}

impl Arena {
    fn pace(&self) -> Pace<'_> {
        Pace {
            arena: self,
            since: Instant::now(),
        }
    }

    /// How many of the attacker's calls were cancelled.
    async fn cancelled(&self) -> usize {
        let url = self.replica.url.replace("/mcp", "/metrics");
        let answer = http().get(&url).send().await.expect("an answer");
        let text = answer.text().await.expect("a text");
        let mut lines = text.lines();
        let count = lines.find_map(|line| line.strip_prefix(CANCELLED));
        count.map_or(0, |count| count.parse().expect("a number"))
    }
}

const CANCELLED: &str = r#"vmcp_requests_total{method="tools/call",outcome="cancelled"} "#;

/// How fast one attacker goes.
struct Pace<'a> {
    arena: &'a Arena,
    since: Instant,
}

impl Pace<'_> {
    /// Whether there is to be another deed, after a pause.
    async fn goes_on(&mut self) -> bool {
        sleep(PAUSE.max(self.since.elapsed() * PAUSES_PER_DEED)).await;
        self.since = Instant::now();
        !self.arena.is_over.load(Ordering::Relaxed)
    }
}

/// What an attacker did, and how much of it was refused, ended or taken back.
#[derive(Clone, Copy, Debug, Default)]
struct Got {
    deeds: usize,
    stopped: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_user_who_attacks_in_every_way_costs_another_no_call_and_little_time() {
    let (issuer, backend) = tokio::join!(Issuer::start(), Backend::start());
    let replica = Replica::start(&format!(
        "
incomingAuth: {{type: oidc, oidc: {{issuer: '{}', audience: vmcp}}}}
maxConnections: {CONNECTIONS}
backends: [{{name: a, url: '{}', maxInFlight: {}, maxInFlightPerUser: {SLOTS}}}]
limiter: embedded
rateLimiting: {{perUser: {{maxTokens: 1000000, refillPeriod: 24h}}}}
",
        issuer.url,
        backend.url,
        2 * SLOTS
    ))
    .await;
    let token = issuer.token("alice");
    let alice = Honest {
        caller: Caller::new(&replica.url, Some(token.clone())),
        token,
    };
    alice.caller.until_listed("a_echo").await;
    let arena = Arc::new(Arena {
        replica,
        token: issuer.token("mallory"),
        is_over: AtomicBool::new(false),
    });

    let before = alice.times(&arena.replica).await;
    let attackers = ATTACKS.map(|(name, attack)| (name, tokio::spawn(attack(Arc::clone(&arena)))));
    // All of them are at it.
    sleep(Duration::from_secs(1)).await;
    let among = Times::of(alice.times(&arena.replica).await);
    arena.is_over.store(true, Ordering::Relaxed);
    for (name, attacker) in attackers {
        let got = attacker.await.expect("it was alive to the end");
        println!("{name}: {got:?}");
        assert!(got.deeds > 0 && got.stopped > 0, "{name}: {got:?}");
    }
    let mallory = Caller::new(&arena.replica.url, Some(arena.token.clone()));
    eventually("nothing of the attacks is left", async || {
        let calls = (0..SLOTS).map(|_| mallory.call("a_echo", json!({})));
        let outcomes = join_all(calls).await;
        outcomes.iter().all(Result::is_ok).then_some(())
    })
    .await;
    // The machine may be busier than before.
    let alone = Times::of([before, alice.times(&arena.replica).await].concat());
    let ratio = among.p99().div_duration_f64(alone.p99());
    println!("calls alone: {alone}, among attacks: {among}; p99 {ratio:.1} of alone");
    assert!(
        ratio < MOST,
        "{ratio}: alone {alone}, among attacks {among}"
    );
}

/// How long calls took, the shortest first.
struct Times(Vec<Duration>);

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    fn p99(&self) -> Duration {
        self.0[self.0.len() * 99 / 100]
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "median {:?}, p99 {:?}",
            self.0[self.0.len() / 2],
            self.p99()
        )
    }
}

/// The honest user, whose client keeps a connection; so now and then another client calls.
struct Honest {
    caller: Caller,
    token: String,
}

impl Honest {
    /// How long each of `CALLS` took. All have their result in time.
    async fn times(&self, replica: &Replica) -> Vec<Duration> {
        let mut times = Vec::new();
        for number in 0..CALLS {
            let began = Instant::now();
            let called = timeout(DEADLINE, async {
                if number % 10 == 0 {
                    self.call_anew(replica).await;
                } else {
                    let called = self.caller.call("a_echo", json!({"number": number}));
                    called.await.expect("a result");
                }
            });
            called.await.expect("in time");
            times.push(began.elapsed());
            sleep(Duration::from_millis(1)).await;
        }
        times
    }

    /// Calls on a new connection, and tries again if that is closed without an answer, as clients do.
    async fn call_anew(&self, replica: &Replica) {
        let said = call(&self.token, "a_echo");
        loop {
            let mut stream = says(replica, &said).await;
            if let Some((status, said)) = answer(&mut stream).await {
                assert!(status == 200 && said.contains("result"), "{said}");
                return;
            }
        }
    }
}

type Attack = fn(Arc<Arena>) -> BoxFuture<'static, Got>;

const ATTACKS: [(&str, Attack); 5] = [
    ("hang-ups", |arena| hang_ups(arena).boxed()),
    ("a flood", |arena| flood(arena).boxed()),
    ("idle connections", |arena| idle(arena).boxed()),
    ("half bodies", |arena| half_bodies(arena).boxed()),
    ("odd bodies", |arena| odd_bodies(arena).boxed()),
];

/// Calls that never end, whose caller goes, some after the first byte of another request. Each is
/// cancelled, or was refused as all slots of this user were taken.
async fn hang_ups(arena: Arc<Arena>) -> Got {
    let (mut got, mut pace) = (Got::default(), arena.pace());
    while pace.goes_on().await {
        let mut said = call(&arena.token, "a_hang");
        if got.deeds % 2 == 1 {
            said.push(b'P');
        }
        let mut hangs_up = says(&arena.replica, &said).await;
        got.deeds += 1;
        // Until it is at the backend, or refused.
        let _ = timeout(PAUSE, answer(&mut hangs_up)).await;
    }
    got.stopped = arena.cancelled().await;
    got
}

/// Many calls at a time. Those beyond the user's slots are refused.
async fn flood(arena: Arc<Arena>) -> Got {
    let said = call(&arena.token, "a_echo");
    let (mut got, mut pace) = (Got::default(), arena.pace());
    while pace.goes_on().await {
        let calls = (0..4 * SLOTS).map(|_| async {
            let mut stream = says(&arena.replica, &said).await;
            timeout(DEADLINE, answer(&mut stream)).await.ok().flatten()
        });
        for answer in join_all(calls).await {
            got.deeds += 1;
            // A connection may make room before its request has come.
            let refused = answer.is_none_or(|(_, said)| said.contains("in flight"));
            got.stopped += usize::from(refused);
        }
    }
    got
}

/// Of `said`, 6 connections at a time until there are more than may be. They make room.
async fn connections(arena: &Arena, said: [Vec<u8>; 2]) -> Got {
    let (mut got, mut pace) = (Got::default(), arena.pace());
    let mut open: Vec<TcpStream> = Vec::new();
    while pace.goes_on().await {
        for number in 0..6 {
            open.push(says(&arena.replica, &said[number % 2]).await);
            got.deeds += 1;
        }
        if open.len() > 2 * CONNECTIONS {
            for mut oldest in open.drain(..CONNECTIONS) {
                got.stopped += usize::from(is_closed(&mut oldest));
            }
        }
    }
    got
}

/// Connections on which nothing is said, or a probe.
async fn idle(arena: Arc<Arena>) -> Got {
    connections(&arena, [Vec::new(), LIVEZ.to_vec()]).await
}

/// Bodies whose end does not come, by length and in chunks.
async fn half_bodies(arena: Arc<Arena>) -> Got {
    let mut by_length = post(&arena.token, "", &[b' '; 2_000]);
    by_length.truncate(by_length.len() - 1_000);
    let chunked = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n8\r\n{{\"jso",
        arena.token
    );
    connections(&arena, [by_length, chunked.into_bytes()]).await
}

/// What is no message. Each is refused, and none is an error of the gateway.
async fn odd_bodies(arena: Arc<Arena>) -> Got {
    let batch = format!("[{}]", vec!["{}"; 101].join(","));
    let deep = "[".repeat(100_000);
    let odd: [(&str, &[u8]); 8] = [
        ("", b"{"),
        ("", b"[]"),
        ("", &[0xff; 64]),
        ("", batch.as_bytes()),
        ("", deep.as_bytes()),
        ("", br#"{"jsonrpc":"2.0","id":{},"method":"tools/call"}"#),
        (
            "",
            br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"\ud800"}}"#,
        ),
        ("accept: text/html\r\n", b"{}"),
    ];
    let (mut got, mut pace) = (Got::default(), arena.pace());
    while pace.goes_on().await {
        let (headers, body) = odd[got.deeds % odd.len()];
        let mut stream = says(&arena.replica, &post(&arena.token, headers, body)).await;
        got.deeds += 1;
        if let Ok(Some((status, said))) = timeout(DEADLINE, answer(&mut stream)).await {
            assert!(status < 500, "{said}");
            got.stopped += usize::from((400..500).contains(&status));
        }
    }
    got
}
