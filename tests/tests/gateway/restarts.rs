//! Servers from npm that are killed behind the gateway: how many calls fail, and for how long.

use std::{fs, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use tokio::time::Instant;
use toolgate_tests::eventually;

use crate::{caller::Caller, everything::Everything, replica::Replica};

/// More than the server takes to start on a busy machine.
const SOON: Duration = Duration::from_secs(20);

async fn replica(backend: &str) -> (Replica, Caller) {
    let yaml = format!("incomingAuth: {{type: anonymous}}\nbackends: [{backend}]\n");
    let replica = Replica::start(&yaml).await;
    let caller = replica.anonymous();
    caller.until_listed("every_echo").await;
    (replica, caller)
}

/// Calls one after the other until one is good: how many were not, and how long it took.
async fn until_good(caller: &Caller, what: &str) {
    let (since, mut failed) = (Instant::now(), Vec::new());
    while since.elapsed() < SOON {
        match caller.call("every_echo", json!({"message": "hi"})).await {
            Ok(_) => {
                let (count, took) = (failed.len(), since.elapsed());
                println!("| {what} | {count} | {took:.0?} | {failed:?} |");
                assert!(count <= 1, "{what}: {failed:?}");
                return;
            }
            Err(error) => failed.push(error["message"].to_string()),
        }
    }
    panic!("{what}: {failed:?}");
}

/// Calls failed for 2 s.
#[tokio::test]
async fn a_server_that_is_killed_and_comes_back_costs_one_call_at_most() {
    let mut everything = Everything::start().await;
    let (_replica, caller) = replica(&format!("{{name: every, url: '{}'}}", everything.url)).await;
    for _ in 0..2 {
        everything.kill().await;
        everything.start_again().await;
        until_good(&caller, "server-everything is killed and there again").await;
    }
    for _ in 0..2 {
        everything.kill().await;
        let good = until_good(&caller, "a call comes while it is gone");
        tokio::join!(good, everything.start_again());
    }
}

#[tokio::test]
async fn a_server_that_is_a_child_and_is_killed_costs_one_call_at_most() {
    let (mut replica, caller) = replica("{name: every, command: mcp-server-everything}").await;
    for _ in 0..3 {
        let child = child_of(replica.id()).await;
        kill(child, Signal::SIGKILL).expect("it was there");
        until_good(&caller, "server-everything, a child, is killed").await;
    }
}

/// The child of a process.
async fn child_of(parent: u32) -> Pid {
    eventually("it has a child", async || {
        let threads = fs::read_dir(format!("/proc/{parent}/task")).ok()?;
        let children = threads.filter_map(|thread| {
            let children = thread.ok()?.path().join("children");
            fs::read_to_string(children).ok()
        });
        let children: String = children.collect();
        let child = children.split_whitespace().last()?.parse().ok()?;
        Some(Pid::from_raw(child))
    })
    .await
}
