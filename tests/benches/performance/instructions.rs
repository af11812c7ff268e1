//! Instructions for each step of a check, counted by valgrind: the same on a busy machine.
//!
//! Each step runs in a process of its own, once with more and once with fewer repetitions and with
//! the same preparation; the difference is the steps alone.

use std::{hint::black_box, process::Command, sync::Arc, time::Duration};

use futures::FutureExt as _;
use prost::Message as _;
use toolgate_limit::{
    Answer, BucketStatus, BucketStore as _, Check, Decision, Denial, MemoryStore, Plan,
};
use toolgate_proto::pb::{
    CheckRequest, CheckStreamRequest, CheckStreamResponse, check_stream_response::Result as Outcome,
};

use crate::{policies, stage::Stage};

/// The argument that makes this program run one step.
pub(crate) const COMMAND: &str = "run-step";

const STEPS: [(&str, &str); 5] = [
    ("decode", "a request on a stream, from bytes to a check"),
    ("plan", "from a check to the buckets it touches"),
    ("take", "four buckets, in the memory store"),
    (
        "encode",
        "an answer on a stream, from the decision to bytes",
    ),
    (
        "refuse",
        "a remembered denial on a stream, from the decision to bytes",
    ),
];

/// What is prepared for, whatever the number of repetitions.
const PREPARED: usize = 3_000;
const FEW: usize = 1_000;
const MANY: usize = 3_000;

pub(crate) fn run(_: &Stage) {
    println!("## Instructions\n");
    let found = Command::new("valgrind").arg("--version").output();
    if !found.is_ok_and(|output| output.status.success()) {
        println!("valgrind is not installed.\n");
        return;
    }
    println!("| step | | instructions |\n|---|---|---:|");
    for (step, what) in STEPS {
        let each = (count(step, MANY) - count(step, FEW)) / (MANY - FEW) as u64;
        println!("| {step} | {what} | {each} |");
    }
    println!();
}

/// Instructions of a whole process.
fn count(step: &str, repetitions: usize) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().expect("this program"))
        .args([COMMAND, step, &repetitions.to_string()])
        .output()
        .expect("valgrind runs");
    let told = String::from_utf8_lossy(&output.stderr);
    let collected = told.lines().find_map(|line| line.split_once("Collected :"));
    let collected = collected.and_then(|(_, number)| number.trim().parse().ok());
    collected.unwrap_or_else(|| panic!("valgrind counts nothing: {told}"))
}

/// Runs the step so many times.
pub(crate) fn work(step: &str, repetitions: usize) {
    let policy = policies::policy();
    let store = MemoryStore::new(1_000_000);
    let checks: Vec<_> = (0..PREPARED).map(policies::check).collect();
    let plans: Vec<_> = checks.iter().map(|check| policy.plan(check)).collect();
    let take = |plan| {
        store
            .take(vec![plan])
            .now_or_never()
            .expect("at once")
            .remove(0)
            .expect("room")
    };
    match step {
        "decode" => {
            let requests: Vec<_> = checks.iter().map(request).collect();
            for bytes in requests.iter().take(repetitions) {
                let request = CheckStreamRequest::decode(&bytes[..]).expect("a request");
                black_box(request.into_check().expect("a check"));
            }
        }
        "plan" => {
            for check in checks.iter().take(repetitions) {
                black_box(policy.plan(check));
            }
        }
        "take" => {
            for plan in plans.into_iter().take(repetitions) {
                black_box(take(plan));
            }
        }
        "encode" => {
            let answers: Vec<_> = plans.into_iter().map(take).collect();
            let mut bytes = Vec::with_capacity(1_024);
            for answer in answers.into_iter().take(repetitions) {
                bytes.clear();
                let response = CheckStreamResponse {
                    leaving: false,
                    id: 7,
                    result: Some(Outcome::Response(answer.into())),
                };
                response.encode(&mut bytes).expect("room");
                black_box(&bytes);
            }
        }
        "refuse" => {
            let mut bytes = Vec::with_capacity(1_024);
            for plan in plans.iter().take(repetitions) {
                bytes.clear();
                let response = CheckStreamResponse {
                    leaving: false,
                    id: 7,
                    result: Some(Outcome::Response(refusal(plan).into())),
                };
                response.encode(&mut bytes).expect("room");
                black_box(&bytes);
            }
        }
        _ => panic!("no step {step}"),
    }
}

/// With the refusing bucket alone.
fn refusal(plan: &Plan) -> Answer {
    let limit = plan.limits().last().expect("a limit");
    let denial = Denial {
        limit: Arc::clone(limit),
        retry_after: Some(Duration::from_millis(5_912)),
        cost: plan.cost(),
    };
    let status = BucketStatus {
        limit: Arc::clone(limit),
        remaining: 0,
        full_after: Duration::from_millis(59_912),
    };
    Answer {
        decision: Decision::Denied(denial),
        buckets: vec![status],
        unlimited: false,
        ..Answer::unlimited()
    }
}

fn request(check: &Check) -> Vec<u8> {
    CheckStreamRequest {
        id: 7,
        check: Some(CheckRequest::from(check)),
        timeout: None,
        omit_buckets_if_allowed: true,
        ..CheckStreamRequest::default()
    }
    .encode_to_vec()
}
