//! Unary `Check` over a unary call that decides nothing.

use std::slice;

use crate::{
    load::{self, CLIENT_CPU, P50, P99, RATE, REDIS_CPU, SERVER_CPU, Target},
    policies::{FOUR_BUCKETS, TOOLS, USERS},
    stage::Stage,
    table::{Column, Side, interleaved},
};

pub(crate) fn run(stage: &Stage) {
    println!("## Unary checks\n");
    let redis = stage.redis();
    let policies = FOUR_BUCKETS.file();
    let (on_redis, in_memory, no_op) = (
        stage.limiter(&policies, Some(&redis)),
        stage.limiter(&policies, None),
        stage.no_op(),
    );
    let (users, tools, time) = (USERS.to_string(), TOOLS.to_string(), stage.duration(3_000));
    let arguments = ["--mode", "unary", "--users", &users, "--tools", &tools];
    let shape = ["--connections", "4", "--in-flight", "16"];
    let time = ["--duration", &time, "--warm-up", "500ms"];
    let arguments = [&arguments[..], &shape, &time].concat();
    let unary = |server, redis| {
        let servers = slice::from_ref(server);
        load::run(stage, Target { servers, redis }, &arguments)
    };
    let sides = vec![
        Side::new("no-op gRPC call", || unary(&no_op, None)),
        Side::new("Check, memory", || unary(&in_memory, None)),
        Side::new("Check, Redis", || unary(&on_redis, Some(&redis))),
    ];
    interleaved(stage.rounds(), sides).print(
        "four buckets a check, 4 connections x 16 in flight; CPU in us for each check",
        &[
            Column::new("checks/s", RATE, 0),
            Column::ratio("of the no-op", RATE, 0),
            Column::new("server CPU", SERVER_CPU, 2),
            Column::ratio("x no-op", SERVER_CPU, 0),
            Column::new("Redis CPU", REDIS_CPU, 2),
            Column::new("generator CPU", CLIENT_CPU, 2),
            Column::new("p50 us", P50, 0),
            Column::new("p99 us", P99, 0),
        ],
    );
}
