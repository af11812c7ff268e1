//! One user in a tight loop, who is refused.

use std::slice;

use toolgate_tests::PolicyFile;

use crate::{
    load::{self, BATCH, CLIENT_CPU, COMMANDS, P50, P99, RATE, REDIS_CPU, SERVER_CPU, Target},
    stage::Stage,
    table::{Column, Side, interleaved},
};

pub(crate) fn run(stage: &Stage) {
    println!("## A refused flood\n");
    let redis = stage.redis();
    let ten_an_hour = "global: {maxTokens: 2147483647, refillPeriod: 1s}, \
                       perUser: {maxTokens: 10, refillPeriod: 1h}";
    let policies = PolicyFile::of_spec(ten_an_hour).expect("a file");
    let (on_redis, in_memory, no_op) = (
        stage.limiter(&policies, Some(&redis)),
        stage.limiter(&policies, None),
        stage.no_op(),
    );
    let time = stage.duration(3_000);
    let arguments = ["--users", "1", "--tools", "1", "--in-flight", "64"];
    let arguments = [&arguments[..], &["--duration", &time, "--warm-up", "500ms"]].concat();
    let flood = |server, redis| {
        let servers = slice::from_ref(server);
        load::run(stage, Target { servers, redis }, &arguments)
    };
    let sides = vec![
        Side::new("no-op gRPC stream", || flood(&no_op, None)),
        Side::new("refused, Redis", || flood(&on_redis, Some(&redis))),
        Side::new("refused, memory", || flood(&in_memory, None)),
    ];
    interleaved(stage.rounds(), sides).print(
        "one user, ten calls an hour, one stream, 64 in flight; CPU in us for each check",
        &[
            Column::new("checks/s", RATE, 0),
            Column::ratio("of the no-op", RATE, 0),
            Column::new("server CPU", SERVER_CPU, 2),
            Column::ratio("x no-op", SERVER_CPU, 0),
            Column::new("Redis CPU", REDIS_CPU, 2),
            Column::new("commands in Redis a check", COMMANDS, 4),
            Column::new("checks a call", BATCH, 1),
            Column::new("generator CPU", CLIENT_CPU, 2),
            Column::new("p50 us", P50, 0),
            Column::new("p99 us", P99, 0),
        ],
    );
}
