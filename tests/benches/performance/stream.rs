//! `CheckStream` on Redis, between the script alone and gRPC alone.

use std::{slice, time::Duration};

use crate::{
    load::{self, BATCH, CLIENT_CPU, RATE, REDIS_CPU, SERVER_CPU, Target},
    policies::{FOUR_BUCKETS, TOOLS, USERS},
    replay,
    stage::Stage,
    table::{Column, Side, interleaved},
};

/// Enough that a full batch gathers while another is on its way.
const IN_FLIGHT: &str = "128";

pub(crate) fn run(stage: &Stage) {
    println!("## Checks on a stream\n");
    let redis = stage.redis();
    let policies = FOUR_BUCKETS.file();
    let (on_redis, in_memory, no_op) = (
        stage.limiter(&policies, Some(&redis)),
        stage.limiter(&policies, None),
        stage.no_op(),
    );
    let recording = replay::record(stage, &redis);

    let (users, tools, time) = (USERS.to_string(), TOOLS.to_string(), stage.duration(3_000));
    let arguments = [
        "--users",
        &users,
        "--tools",
        &tools,
        "--in-flight",
        IN_FLIGHT,
    ];
    let arguments = [&arguments[..], &["--duration", &time, "--warm-up", "500ms"]].concat();
    let streamed = |server, redis| {
        let servers = slice::from_ref(server);
        load::run(stage, Target { servers, redis }, &arguments)
    };
    let replayed = Duration::from_millis(if stage.quick { 400 } else { 3_000 });
    let sides = vec![
        Side::new("the script alone, pipelined", || {
            replay::replay(&redis, &recording, replayed)
        }),
        Side::new("no-op gRPC stream", || streamed(&no_op, None)),
        Side::new("CheckStream, Redis", || streamed(&on_redis, Some(&redis))),
        Side::new("CheckStream, memory", || streamed(&in_memory, None)),
    ];
    let rounds = interleaved(stage.rounds(), sides);
    rounds.print(
        &format!(
            "{USERS} users x {TOOLS} tools, four buckets a check, one stream, {IN_FLIGHT} in flight"
        ),
        &[
            Column::new("checks/s", RATE, 0),
            Column::ratio("of the script", RATE, 0),
            Column::ratio("of the no-op", RATE, 1),
            Column::new("checks a call", BATCH, 1),
        ],
    );
    rounds.print(
        "CPU for each check, us",
        &[
            Column::new("server", SERVER_CPU, 2),
            Column::ratio("x no-op", SERVER_CPU, 1),
            Column::new("Redis", REDIS_CPU, 2),
            Column::ratio("x script", REDIS_CPU, 0),
            Column::new("generator", CLIENT_CPU, 2),
        ],
    );
}
