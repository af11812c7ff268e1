//! A cluster with many policies.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, PostParams},
    core::DynamicObject,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use toolgate_tests::PATIENCE;

use crate::{
    figures::Figures,
    stage::{Stage, condition},
};

const POLICIES: u32 = 1_000;

/// A watch tells of a change at once. Looking every few seconds instead, or a relist for each change,
/// would take longer, and a busy machine does not.
const SOON: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_thousand_policies_are_enforced_and_a_change_of_one_of_them_is_seen() {
    let stage = Stage::new().await;
    let policies = stage.policies().await;
    let create = |number: u32| {
        let policies = policies.clone();
        async move {
            let object = serde_json::from_value(object(&name(number), number))?;
            policies.create(&PostParams::default(), &object).await?;
            anyhow::Ok(())
        }
    };
    let started = Instant::now();
    let creating = stream::iter(1..=POLICIES).map(create).buffer_unordered(16);
    creating.try_collect::<()>().await.expect("created");
    println!("{POLICIES} policies: created in {:.1?}", started.elapsed());

    let started = Instant::now();
    let mut replica = stage.replica("only", &[]).await;
    println!(
        "{POLICIES} policies: start of a limiter -> ready in {:.0?}",
        started.elapsed()
    );
    for number in 1..=POLICIES {
        let capacities = replica.capacities(&stage.server(&name(number))).await;
        assert_eq!(capacities.expect("an answer"), [number], "{number}");
    }

    let mut changed = Figures::default();
    for turn in 1..=20 {
        let one = name(turn * 50);
        apply(&policies, &one, POLICIES + turn).await;
        let applied = Instant::now();
        let server = stage.server(&one);
        replica.comes_to(&server, &[POLICIES + turn]).await;
        changed.add(applied.elapsed());
    }
    changed.print(&format!("{POLICIES} policies: one is changed -> enforced"));
    assert!(changed.median() < SOON, "{:?}", changed.median());
    all_say_that_they_are_enforced(&policies).await;
    println!(
        "{POLICIES} policies: start of a limiter -> the status of all is written in {:.0?}",
        started.elapsed()
    );
    let size = replica.limiter.resident_bytes().expect("it runs");
    println!("{POLICIES} policies: a limiter holds {} KiB", size / 1_024);
}

#[tokio::test]
async fn a_policy_that_is_applied_is_enforced_soon() {
    let stage = Stage::new().await;
    let policies = stage.policies().await;
    let replica = stage.replica("only", &[]).await;
    let mut enforced = Figures::default();
    for calls in 1..=30 {
        apply(&policies, "research", calls).await;
        let applied = Instant::now();
        replica.comes_to(&stage.server("research"), &[calls]).await;
        enforced.add(applied.elapsed());
    }
    enforced.print("RateLimitPolicy: the API server has answered an apply -> enforced");
    assert!(enforced.median() < SOON, "{:?}", enforced.median());
}

/// Waits until they do. No more than 50 are written in a second.
async fn all_say_that_they_are_enforced(policies: &Api<DynamicObject>) {
    let all = async {
        loop {
            let list = policies.list(&ListParams::default()).await.expect("a list");
            let enforced = list.items.iter().filter(|policy| {
                let status = policy.data.get("status");
                status.is_some_and(|status| condition(status, "Enforced").0 == "True")
            });
            if enforced.count() == list.items.len() {
                return;
            }
            sleep(Duration::from_millis(500)).await;
        }
    };
    let in_time = timeout(5 * PATIENCE, all).await;
    in_time.expect("all have a status");
}

/// Applies one on the server's side, as `GitOps` tools do.
async fn apply(policies: &Api<DynamicObject>, name: &str, calls: u32) {
    let apply = PatchParams::apply("test").force();
    let patch = Patch::Apply(object(name, calls));
    policies.patch(name, &apply, &patch).await.expect("applied");
}

fn name(number: u32) -> String {
    format!("policy-{number}")
}

fn object(name: &str, calls: u32) -> Value {
    json!({
        "apiVersion": "toolgate.dev/v1alpha1",
        "kind": "RateLimitPolicy",
        "metadata": {"name": name},
        "spec": {"perUser": {"maxTokens": calls, "refillPeriod": "24h"}},
    })
}
