//! What it costs that a limiter can be seen: checks with all that observes them, over checks with
//! nothing that does.

use std::slice;

use toolgate_tests::Collector;

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

/// The share of checks that are traced, where any are.
const TRACED: &[&str] = &["--traced", "0.01"];

pub(crate) fn run(stage: &Stage) {
    println!("## Telemetry\n");
    // It takes spans on a thread of this process, and so none of the limiter's time.
    let collector = Collector::start();
    let policies = FOUR_BUCKETS.file();
    let traces = [METRICS, &["--otlp-endpoint", collector.endpoint()]].concat();
    for (store, on_redis) in [("memory", false), ("Redis", true)] {
        let side = |name: &str, settings: &[&str], load: &[&str]| {
            // Each has its own, so that none finds what another has left.
            let redis = on_redis.then(|| stage.redis());
            let limiter = stage.limiter_with(&policies, redis.as_ref(), settings);
            let load: Vec<_> = load.iter().map(|&argument| argument.to_owned()).collect();
            Side::new(name, move || {
                let servers = slice::from_ref(&limiter);
                let redis = redis.as_ref();
                streamed(stage, Target { servers, redis }, &load)
            })
        };
        let sides = vec![
            side("off", UNSEEN, &[]),
            side("metrics", METRICS, &[]),
            side("metrics, 1 % of checks traced", &traces, TRACED),
        ];
        // Twice as many rounds as elsewhere: what is sought is small.
        interleaved(2 * stage.rounds(), sides).print(
            &format!(
                "CheckStream, {store}, {USERS} users x {TOOLS} tools, four buckets a check, one \
                 stream, {IN_FLIGHT} in flight"
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

fn streamed(stage: &Stage, target: Target<'_>, more: &[String]) -> Figures {
    let (users, tools, time) = (USERS.to_string(), TOOLS.to_string(), stage.duration(3_000));
    let load = [
        &["--users", &users, "--tools", &tools][..],
        &["--in-flight", IN_FLIGHT, "--duration", &time],
        &["--warm-up", "500ms"],
    ];
    let more: Vec<_> = more.iter().map(String::as_str).collect();
    load::run(stage, target, &[load.concat(), more].concat())
}
