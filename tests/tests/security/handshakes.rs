//! Whoever connects again and again costs the others no check.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use futures::future::join_all;
use tokio::time::Instant;
use toolgate_proto::pb::Decision;
use toolgate_tests::{Authority, manifest, of_user};

use crate::stage::{Stage, TEN_A_DAY, check};

const CHECKS: usize = 200;

/// A check of a user on an open connection is decided by then, however busy the machine.
const DEADLINE: Duration = Duration::from_secs(2);

/// The processor time, in ticks, of the threads of process `id` whose names begin with `name`.
fn ticks(id: u32, name: &str) -> u64 {
    let threads = fs::read_dir(format!("/proc/{id}/task")).expect("it runs");
    let of_thread = |folder: fs::DirEntry| {
        let stat = fs::read_to_string(folder.path().join("stat")).ok()?;
        let (head, rest) = stat.rsplit_once(')')?;
        let (_, thread) = head.split_once('(')?;
        // utime and stime are the fields 14 and 15; the third follows the name.
        let spent = rest.split_whitespace().skip(11).take(2);
        let spent: u64 = spent.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        thread.starts_with(name).then_some(spent)
    };
    threads.flatten().filter_map(of_thread).sum()
}

/// Each handshake held up the checks of the worker on whose thread it was done.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_handshakes_is_done_on_threads_that_decide_nothing() {
    flood(Stage::start("", &[]).await, "ECDSA").await;
}

/// The key of a gateway may cost twenty times as much.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_handshakes_with_rsa_is_done_there_too() {
    let server = |authority: &Authority| authority.rsa_credentials(&["localhost"]);
    let policies = manifest("server", TEN_A_DAY);
    flood(Stage::start_as(server, "", &[], &policies).await, "RSA").await;
}

async fn flood(mut stage: Stage, key: &str) {
    let id = stage.limiter.id().expect("it runs");
    let honest = stage.client(&["gateway.svc"]).await;
    let idle = (ticks(id, "handshakes-"), ticks(id, "worker-"));
    let is_over = AtomicBool::new(false);
    let shaken = AtomicU32::new(0);
    let attack = async || {
        let identity = stage.authority.credentials(&["attacker.svc"]);
        while !is_over.load(Ordering::Relaxed) {
            if stage.channel(Some(&identity)).await.is_ok() {
                shaken.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let checks = async {
        let mut took = Vec::new();
        // Until the attackers were alive for all of it.
        while took.len() < CHECKS || shaken.load(Ordering::Relaxed) < 100 {
            let began = Instant::now();
            let user = format!("user-{}", took.len());
            let answer = check(&honest, of_user(&user)).await.expect("decided");
            assert_eq!(answer.decision(), Decision::Allowed);
            took.push(began.elapsed());
        }
        is_over.store(true, Ordering::Relaxed);
        took
    };
    let (mut took, _) = tokio::join!(checks, join_all((0..6).map(|_| attack())));
    took.sort_unstable();
    let handshakes = ticks(id, "handshakes-") - idle.0;
    let workers = ticks(id, "worker-") - idle.1;
    let p99 = took[took.len() * 99 / 100];
    let shaken = shaken.load(Ordering::Relaxed);
    println!(
        "{shaken} handshakes, {key}: p99 {p99:?}; ticks {handshakes} and of workers {workers}"
    );
    assert!(p99 < DEADLINE, "{p99:?}");
    assert!(handshakes > 0, "done elsewhere: workers took {workers}");
}
