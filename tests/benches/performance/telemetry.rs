//! What it costs that a limiter can be seen: checks with all that observes them, over checks with
//! nothing that does.

use std::slice;

use crate::{
    load::{self, RATE, SERVER_CPU, Target},
    policies::{FOUR_BUCKETS, TOOLS, USERS},
    stage::Stage,
    table::{Column, Side, interleaved},
};

/// As in production: many checks on each connection, so that the server is what is busy.
const IN_FLIGHT: &str = "128";

/// Settings of a limiter that nobody sees, and of one that is seen.
const OFF: &[&str] = &["--metrics=false"];
const ON: &[&str] = &["--metrics=true"];

pub(crate) fn run(stage: &Stage) {
    println!("## Telemetry\n");
    let policies = FOUR_BUCKETS.file();
    let (users, tools, time) = (USERS.to_string(), TOOLS.to_string(), stage.duration(3_000));
    let arguments = [
        &["--users", &users, "--tools", &tools][..],
        &["--in-flight", IN_FLIGHT, "--duration", &time],
        &["--warm-up", "500ms"],
    ]
    .concat();
    for (store, on_redis) in [("memory", false), ("Redis", true)] {
        // One for each, so that neither finds what the other has left.
        let redis = [(); 2].map(|()| on_redis.then(|| stage.redis()));
        let [off, on] = [(OFF, &redis[0]), (ON, &redis[1])].map(|(settings, redis)| {
            let limiter = stage.limiter_with(&policies, redis.as_ref(), settings);
            (limiter, redis)
        });
        let streamed = |(server, redis): &(_, &Option<_>)| {
            let (servers, redis) = (slice::from_ref(server), redis.as_ref());
            load::run(stage, Target { servers, redis }, &arguments)
        };
        // Twice as many pairs as elsewhere: what is sought is small.
        let rounds = interleaved(
            2 * stage.rounds(),
            vec![
                Side::new("off", || streamed(&off)),
                Side::new("on", || streamed(&on)),
            ],
        );
        rounds.print(
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
