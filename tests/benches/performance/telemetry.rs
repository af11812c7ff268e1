//! What it costs that a limiter can be seen: checks with all that observes them, over checks with
//! nothing that does.

use std::slice;

use crate::{
    load::{self, RATE, SERVER_CPU, Target},
    policies::{FOUR_BUCKETS, TOOLS, USERS},
    stage::Stage,
    table::{Column, Figures, Side, interleaved},
};

/// As in production: many checks on each connection, so that the server is what is busy.
const IN_FLIGHT: &str = "128";

/// Settings of a limiter that nobody sees, and of one whose metrics are scraped.
const UNSEEN: &[&str] = &["--metrics=false"];
const METRICS: &[&str] = &["--metrics=true"];

/// Spans are made and dropped: an exporter and its collector have their own price.
const TRACES: &[(&str, &str)] = &[
    ("OTEL_TRACES_EXPORTER", "none"),
    ("OTEL_TRACES_SAMPLER", "parentbased_always_on"),
];

/// All sides get the same load: each check has a trace context, and one in a hundred is sampled.
const TRACED: &str = "0.01";

pub(crate) fn run(stage: &Stage) {
    println!("## Telemetry\n");
    let policies = FOUR_BUCKETS.file();
    for (store, on_redis) in [("memory", false), ("Redis", true)] {
        let side = |name: &str, settings: &[&str], environment: &[(&str, &str)]| {
            // Each has its own, so that none finds what another has left.
            let redis = on_redis.then(|| stage.redis());
            let limiter = stage.limiter_in(&policies, redis.as_ref(), settings, environment);
            Side::new(name, move || {
                let servers = slice::from_ref(&limiter);
                let redis = redis.as_ref();
                streamed(stage, Target { servers, redis })
            })
        };
        let sides = vec![
            side("off", UNSEEN, &[]),
            side("metrics", METRICS, &[]),
            side("metrics and traces", METRICS, TRACES),
        ];
        interleaved(stage.rounds(), sides).print(
            &format!(
                "CheckStream, {store}, {USERS} users x {TOOLS} tools, four buckets a check, one \
                 stream, {IN_FLIGHT} in flight, one in a hundred traced"
            ),
            &[
                Column::new("checks/s", RATE, 0),
                Column::ratio("of off", RATE, 0),
                Column::new("server CPU a check, us", SERVER_CPU, 2),
                Column::ratio("x off", SERVER_CPU, 0),
            ],
        );
    }
}

fn streamed(stage: &Stage, target: Target<'_>) -> Figures {
    let (users, tools, time) = (USERS.to_string(), TOOLS.to_string(), stage.duration(3_000));
    let load = [
        &["--users", &users, "--tools", &tools][..],
        &["--in-flight", IN_FLIGHT, "--duration", &time],
        &["--warm-up", "500ms", "--traced", TRACED],
    ];
    load::run(stage, target, &load.concat())
}
