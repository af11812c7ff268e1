//! Latency at fixed rates, counted from when each check was meant to go.

use std::{
    cell::Cell,
    slice, thread,
    time::{Duration, Instant},
};

use crate::{
    load::{self, BEHIND, P50, P99, P999, RATE, Target},
    policies::{FOUR_BUCKETS, TOOLS, USERS},
    replay::Client,
    resp,
    stage::{Redis, Served, Stage},
    table::{Column, Figures, Side, interleaved},
};

pub(crate) fn run(stage: &Stage) {
    println!("## Latency\n");
    let redis = stage.redis();
    let policies = FOUR_BUCKETS.file();
    let limiter = stage.limiter(&policies, Some(&redis));
    let no_op = stage.no_op();
    let most = most(stage, &limiter, &redis);
    println!(
        "`CheckStream` on Redis decides {most} checks/s at most, 64 in flight; half of that is {}/s.\n",
        most / 2
    );
    for rate in [1_000, 10_000, most / 2] {
        at_rate(stage, &limiter, &no_op, &redis, rate);
    }
}

/// Checks a second without a rate.
fn most(stage: &Stage, limiter: &Served, redis: &Redis) -> u64 {
    let time = stage.duration(3_000);
    let arguments = arguments(&time);
    let target = Target {
        servers: slice::from_ref(limiter),
        redis: Some(redis),
    };
    let rate = load::run(stage, target, &arguments)[RATE];
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "above zero"
    )]
    let rate = rate as u64;
    rate
}

fn arguments(time: &str) -> [&str; 8] {
    const USERS_TEXT: &str = "10000";
    const TOOLS_TEXT: &str = "100";
    const { assert!(USERS == 10_000 && TOOLS == 100) };
    [
        "--users",
        USERS_TEXT,
        "--tools",
        TOOLS_TEXT,
        "--duration",
        time,
        "--warm-up",
        "500ms",
    ]
}

fn at_rate(stage: &Stage, limiter: &Served, no_op: &Served, redis: &Redis, rate: u64) {
    let (text, time) = (rate.to_string(), stage.duration(5_000));
    let arguments = [&arguments(&time)[..], &["--rate", &text]].concat();
    let streamed = |server, redis| {
        let servers = slice::from_ref(server);
        load::run(stage, Target { servers, redis }, &arguments)
    };
    // Of this round.
    let (grpc, script) = (Cell::new(0.0), Cell::new(0.0));
    let sides = vec![
        Side::new("no-op gRPC stream", || {
            let figures = streamed(no_op, None);
            grpc.set(figures[P50]);
            figures
        }),
        Side::new("bare EVALSHA round trip", || {
            let figures = round_trips(redis, rate, stage.sized(2_000));
            script.set(figures[P50]);
            figures
        }),
        Side::new("both, one after the other", || {
            Figures::from([(P50, grpc.get() + script.get())])
        }),
        Side::new("CheckStream, Redis", || streamed(limiter, Some(redis))),
    ];
    interleaved(stage.rounds(), sides).print(
        &format!("{rate} checks/s, us"),
        &[
            Column::new("p50", P50, 0),
            Column::ratio("x both", P50, 2),
            Column::new("p99", P99, 0),
            Column::new("p99.9", P999, 0),
            Column::new("sent late by, p99", BEHIND, 0),
        ],
    );
}

/// The least that a script can do on two keys, one call at a time: at the rate, or where that is too
/// fast for one at a time, without a pause.
fn round_trips(redis: &Redis, rate: u64, calls: usize) -> Figures {
    let mut client = Client::of(redis);
    client.send(&resp::command(&["SCRIPT", "LOAD", "return 1"]));
    let reply = client.receive();
    let reply = std::str::from_utf8(&reply).expect("a digest");
    let digest = reply.lines().nth(1).expect("a digest").to_owned();
    let keys = ["tg:{test/server}:global", "tg:{test/server}:user:user-1"];
    let call = resp::command(&["EVALSHA", &digest, "2", keys[0], keys[1]]);
    let pause = Duration::from_secs(1) / u32::try_from(rate).expect("a rate");
    let mut took: Vec<_> = (0..calls)
        .map(|_| {
            let began = Instant::now();
            client.send(&call);
            client.receive();
            let took = began.elapsed();
            if rate <= 1_000 {
                thread::sleep(pause.saturating_sub(took));
            }
            took
        })
        .collect();
    took.sort_unstable();
    let at = |thousandths: usize| {
        let place = (took.len() * thousandths / 1_000).min(took.len() - 1);
        took[place].as_secs_f64() * 1e6
    };
    Figures::from([(P50, at(500)), (P99, at(990)), (P999, at(999))])
}
