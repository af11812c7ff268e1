//! The bodies of the fuzz targets on their seeds and on mutations of them: what `make fuzz` looks for
//! with coverage and for hours, each `make test` looks for briefly, and in the same way each time.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

mod mutate;

#[path = "../../../fuzz/bodies/frames.rs"]
mod frames;
#[path = "../../../fuzz/bodies/grpc.rs"]
mod grpc;
#[path = "../../../fuzz/bodies/jsonrpc.rs"]
mod jsonrpc;
#[path = "../../../fuzz/bodies/manifest.rs"]
mod manifest;
#[path = "../../../fuzz/bodies/redis.rs"]
mod redis;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use mutate::Mutator;
use toolgate_tests::{Seed, seeds};

/// Gives `accepts` each seed of `target` and then `mutations` mutations of them. Both what is
/// accepted and what is refused must be among the seeds and among the mutations, or little is shown.
fn run(target: &str, mutations: usize, accepts: fn(&[u8]) -> bool) {
    // It and its mutations cost all that the budget for YAML lets them: seconds each, unoptimized.
    let is_cheap = |seed: &Seed| !seed.name.ends_with("yaml-alias-bomb.yaml");
    let seeds = seeds(target).expect("seeds").into_iter().filter(is_cheap);
    let seeds: Vec<_> = seeds.collect();
    let accepts = |input: &[u8], of: &str| {
        let judged = catch_unwind(AssertUnwindSafe(|| accepts(input)));
        judged.unwrap_or_else(|panic| {
            eprintln!("{target}: {of}: {:?}", input.escape_ascii().to_string());
            resume_unwind(panic)
        })
    };
    let accepted = seeds.iter().filter(|seed| accepts(&seed.bytes, &seed.name));
    let accepted = accepted.count();
    assert!((1..seeds.len()).contains(&accepted), "{accepted} seeds");

    let mut mutator = Mutator::new(&seeds);
    let mut accepted = 0;
    for number in 0..mutations {
        let input = mutator.next();
        accepted += usize::from(accepts(&input, &format!("mutation {number}")));
    }
    assert!((1..mutations).contains(&accepted), "{accepted} mutations");
}

#[test]
fn manifests_are_read_to_their_end_and_kept_to_their_bounds() {
    run("manifest", 3_000, manifest::accepts);
}

#[test]
fn grpc_messages_become_checks_within_their_bounds_or_none() {
    run("grpc", 20_000, grpc::accepts);
}

#[test]
fn each_json_rpc_request_has_one_answer_and_no_notification_has_one() {
    run("jsonrpc", 5_000, jsonrpc::accepts);
}

#[test]
fn what_redis_says_becomes_answers_within_their_bounds_or_errors_that_can_be_shown() {
    run("redis", 8_000, redis::accepts);
}

#[test]
fn any_frames_on_a_connection_end_with_it_and_leave_nothing_in_flight() {
    run("frames", 2_000, frames::accepts);
}
