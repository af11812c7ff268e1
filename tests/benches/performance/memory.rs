//! What an active user costs to remember.

use std::slice;

use crate::{
    cpu,
    load::{self, number},
    policies::Shape,
    stage::{Redis, Stage},
    table::Number,
};

/// Each user has two buckets, its own and that of the one tool; a token takes hours to come back, so
/// that nothing is forgotten meanwhile.
const TWO_PER_USER: Shape = Shape {
    buckets: 4,
    tools: 1,
    per_user: 1_000,
};

/// Users of the layouts that are compared, so many that the size of Redis's tables says little.
const FILLED: usize = 400_000;

pub(crate) fn run(stage: &Stage) {
    println!("## Memory\n\nTwo buckets for each active user: its own, and its own of one tool.\n");
    println!(
        "| | users | bytes a user, by the growth of used memory | bytes a user, by MEMORY USAGE |"
    );
    println!("|---|---:|---:|---:|");
    toolgate(stage);
    for layout in LAYOUTS {
        other(stage, &layout);
    }
    println!();
    in_memory(stage);
}

fn fill(stage: &Stage, seconds: u64) -> [String; 10] {
    let users = stage.sized(1_000_000).to_string();
    let time = stage.duration(seconds * 1_000);
    [
        "--users",
        &users,
        "--tools",
        "1",
        "--warm-up",
        "0s",
        "--in-flight",
        "256",
        "--duration",
        &time,
    ]
    .map(str::to_owned)
}

/// By limiter and load generator.
fn toolgate(stage: &Stage) {
    let redis = stage.redis();
    let policies = TWO_PER_USER.file();
    let limiter = stage.limiter(&policies, Some(&redis));
    let before = redis.used_memory(stage);
    let arguments = fill(stage, 30);
    load::report(
        slice::from_ref(&limiter),
        &arguments.each_ref().map(String::as_str),
    );
    // One key holds what all share.
    let users = redis.keys(stage) - 1;
    row(stage, "Toolgate: a hash per user", &redis, before, users, 1);
}

/// A way to store a bucket, as other limiters do.
struct Layout {
    name: &'static str,
    set: fn(&mut redis::Pipeline, &str),
}

const EXPIRE_MILLIS: i64 = 86_400_000;

const LAYOUTS: [Layout; 2] = [
    Layout {
        name: "a hash per bucket",
        set: |pipe, key| {
            let fields = [("tokens", "998.9999421"), ("as_of", "1767323045.123456")];
            pipe.hset_multiple(key, &fields).ignore();
            pipe.pexpire(key, EXPIRE_MILLIS).ignore();
        },
    },
    Layout {
        name: "one string per bucket",
        set: |pipe, key| {
            pipe.set(key, "998.9999421 1767323045.123456").ignore();
            pipe.pexpire(key, EXPIRE_MILLIS).ignore();
        },
    },
];

fn other(stage: &Stage, layout: &Layout) {
    let redis = stage.redis();
    let before = redis.used_memory(stage);
    let users = stage.sized(FILLED);
    stage.runtime.block_on(async {
        let mut connection = redis.connection.clone();
        for first in (0..users).step_by(1_000) {
            let mut pipe = redis::pipe();
            for user in first..users.min(first + 1_000) {
                (layout.set)(&mut pipe, &format!("tg:{{test/server}}:user:user-{user}"));
                (layout.set)(
                    &mut pipe,
                    &format!("tg:{{test/server}}:tool:tool-0:user:user-{user}"),
                );
            }
            let filled: redis::RedisResult<()> = pipe.query_async(&mut connection).await;
            filled.expect("filled");
        }
    });
    assert_eq!(redis.keys(stage), users as u64 * 2);
    row(stage, layout.name, &redis, before, users as u64, 2);
}

fn row(stage: &Stage, name: &str, redis: &Redis, before: u64, users: u64, keys_each: u64) {
    let grown = redis.used_memory(stage) - before;
    let of_keys = stage.runtime.block_on(usage(redis)) * to_f64(keys_each);
    println!(
        "| {name} | {} | {} | {} |",
        Number(to_f64(users), 0),
        Number(to_f64(grown) / to_f64(users), 0),
        Number(of_keys, 0),
    );
}

/// The mean of `MEMORY USAGE` over some keys of users, in bytes.
async fn usage(redis: &Redis) -> f64 {
    const KEYS: usize = 200;
    let mut connection = redis.connection.clone();
    let mut sizes = Vec::new();
    while sizes.len() < KEYS {
        let key: Vec<u8> = redis::cmd("RANDOMKEY")
            .query_async(&mut connection)
            .await
            .expect("a key");
        if key.ends_with(b":global") {
            continue;
        }
        let mut command = redis::cmd("MEMORY");
        let usage = command.arg("USAGE").arg(&key).arg("SAMPLES").arg(0);
        sizes.push(usage.query_async(&mut connection).await.expect("a size"));
    }
    to_f64(sizes.iter().sum()) / to_f64(KEYS as u64)
}

/// The memory store, by the limiter's resident memory.
fn in_memory(stage: &Stage) {
    let policies = TWO_PER_USER.file();
    let limiter = stage.limiter(&policies, None);
    let servers = slice::from_ref(&limiter);
    // Connections and buffers are not the users'.
    load::report(
        servers,
        &["--users", "1", "--tools", "1", "--duration", "500ms"],
    );
    let before = cpu::resident(limiter.pid);
    let arguments = fill(stage, 30);
    let report = load::report(servers, &arguments.each_ref().map(String::as_str));
    let after = cpu::resident(limiter.pid);
    let limits = report["admission"]["limits"].as_array().expect("a list");
    let per_user = limits.iter().find(|limit| limit["kind"] == "per user");
    let users = number(per_user.expect("the policy has it"), "/buckets");
    println!("| memory store | users | resident MiB before | resident MiB after | bytes a user |");
    println!("|---|---:|---:|---:|---:|");
    let mebibytes = |bytes| Number(to_f64(bytes) / 1_048_576.0, 1);
    println!(
        "| limiter | {} | {} | {} | {} |\n",
        Number(users, 0),
        mebibytes(before),
        mebibytes(after),
        Number(to_f64(after - before) / users, 0),
    );
}

#[allow(clippy::cast_precision_loss, reason = "figures of a few digits")]
fn to_f64(number: u64) -> f64 {
    number as f64
}
