//! People are told what became of what they applied.

use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::time::Instant;
use toolgate_tests::eventually;

use crate::{
    stage::{LAX_CRD, Stage, condition, per_user, policy},
    virtual_servers::virtual_server,
};

#[tokio::test]
async fn a_policy_is_enforced_when_every_replica_says_so_and_then_each_does() {
    let stage = Stage::new().await;
    let first = stage.replica("first", &[]).await;
    let second = stage.replica("second", &[]).await;
    let server = stage.server("research");
    stage.apply(&per_user("research", 1)).await;
    stage
        .says("research", "2 of 2 replicas enforce generation 1")
        .await;
    for calls in 2..=8 {
        stage.apply(&per_user("research", calls)).await;
        let said = format!("2 of 2 replicas enforce generation {calls}");
        let status = stage.says("research", &said).await;
        // It was said just now, and must be true.
        for replica in [&first, &second] {
            let capacities = replica.capacities(&server).await;
            assert_eq!(capacities.expect("an answer"), [calls]);
        }
        assert_eq!(status["observedGeneration"], calls);
        for condition in status["conditions"].as_array().expect("conditions") {
            assert_eq!(condition["observedGeneration"], calls);
        }
        let replicas =
            ["first", "second"].map(|name| serde_json::json!({"name": name, "generation": calls}));
        assert_eq!(status["replicas"], Value::from(replicas.to_vec()));
        assert_eq!(status["server"], server.as_str());
    }
    assert_eq!(stage.condition("research", "Accepted").await.0, "True");
    assert_eq!(stage.condition("research", "Conflicted").await.0, "False");
}

#[tokio::test]
async fn kubectl_waits_for_a_policy_to_be_enforced_and_shows_what_became_of_it() {
    let stage = Stage::new().await;
    let _replica = stage.replica("only", &[]).await;
    stage.apply(&per_user("research", 1)).await;
    let wait = ["wait", "--for=condition=Enforced", "rlp/research"];
    stage
        .kubectl(&[&wait[..], &["--timeout=60s"]].concat())
        .await;
    let shown = stage.kubectl(&["get", "rlp"]).await;
    let columns = |line: usize| {
        let line = shown.lines().nth(line).expect("a line");
        line.split_whitespace().take(5).collect::<Vec<_>>()
    };
    assert_eq!(
        columns(0),
        ["NAME", "SERVER", "MODE", "ACCEPTED", "ENFORCED"]
    );
    let server = stage.server("research");
    assert_eq!(columns(1), ["research", &server, "Enforce", "True", "True"]);
}

#[tokio::test]
async fn a_replica_that_does_not_follow_is_named_until_it_does() {
    let stage = Stage::new().await;
    let _first = stage.replica("first", &[]).await;
    stage.apply(&per_user("research", 1)).await;
    stage
        .says("research", "1 of 1 replica enforces generation 1")
        .await;
    assert_eq!(stage.leader().await, "first");
    let mut second = stage.replica("second", &[]).await;
    stage
        .says("research", "2 of 2 replicas enforce generation 1")
        .await;

    // Its Lease lasts 30 s: so long it counts.
    second.limiter.signal(Signal::SIGSTOP).expect("it runs");
    stage.apply(&per_user("research", 2)).await;
    let status = stage
        .says("research", "1 of 2 replicas enforce generation 2")
        .await;
    assert_eq!(status["replicas"][0]["generation"], 2, "{status}");
    assert_eq!(status["replicas"][1]["generation"], 1, "{status}");
    let (enforced, reason, _) = stage.condition("research", "Enforced").await;
    assert_eq!((&*enforced, &*reason), ("False", "SomeReplicas"));

    second.limiter.signal(Signal::SIGCONT).expect("it runs");
    stage
        .says("research", "2 of 2 replicas enforce generation 2")
        .await;
}

#[tokio::test]
async fn another_replica_writes_status_when_the_leader_is_killed() {
    let stage = Stage::new().await;
    let mut first = stage.replica("first", &[]).await;
    stage.apply(&per_user("before", 1)).await;
    stage
        .says("before", "1 of 1 replica enforces generation 1")
        .await;
    let _second = stage.replica("second", &[]).await;
    stage
        .says("before", "2 of 2 replicas enforce generation 1")
        .await;

    first.limiter.kill().await.expect("killed");
    let killed = Instant::now();
    stage.apply(&per_user("after", 2)).await;
    eventually("the second leads", async || {
        (stage.leader().await == "second").then_some(())
    })
    .await;
    stage.becomes("after", "Accepted", "True", "Valid").await;
    let written = killed.elapsed();
    println!("the leader is killed -> another one writes status: {written:.1?}");
    // The other one's Lease has run out by then, or will.
    stage
        .says("after", "1 of 1 replica enforces generation 1")
        .await;
    stage
        .says("before", "1 of 1 replica enforces generation 1")
        .await;
}

/// As a pod that is killed leaves its Lease: the API server takes the owner, and Kubernetes' garbage
/// collector does the rest.
#[tokio::test]
async fn the_lease_of_a_replica_is_owned_by_its_pod() {
    let stage = Stage::new().await;
    let uid = "7b1c1f5e-0000-4000-8000-000000000001";
    let _replica = stage.replica("only", &["--kubernetes-pod-uid", uid]).await;
    let owners = eventually("its Lease is there", async || {
        let leases = stage.kubectl(&["get", "leases", "-o", "json"]).await;
        let leases: Value = serde_json::from_str(&leases).expect("JSON");
        let mut all = leases["items"].as_array().expect("items").iter();
        let own = all.find(|lease| lease["metadata"]["name"] == "toolgate-only")?;
        Some(own["metadata"]["ownerReferences"].clone())
    })
    .await;
    let owner = serde_json::json!(
        [{"apiVersion": "v1", "kind": "Pod", "name": "only", "uid": uid}]
    );
    assert_eq!(owners, owner);
}

#[tokio::test]
async fn a_leader_that_stops_gives_up_the_lead_and_its_lease() {
    let stage = Stage::new().await;
    let mut first = stage.replica("first", &[]).await;
    stage.apply(&per_user("research", 1)).await;
    stage
        .says("research", "1 of 1 replica enforces generation 1")
        .await;
    let _second = stage.replica("second", &[]).await;
    stage
        .says("research", "2 of 2 replicas enforce generation 1")
        .await;

    first.limiter.signal(Signal::SIGTERM).expect("it runs");
    assert!(first.limiter.wait().await.expect("it ends").success());
    let leases = stage.kubectl(&["get", "leases", "-o", "name"]).await;
    assert!(!leases.contains("toolgate-first"), "{leases}");
    assert_ne!(stage.leader().await, "first");
    stage
        .says("research", "1 of 1 replica enforces generation 1")
        .await;
}

#[tokio::test]
async fn a_replica_without_status_is_not_counted_and_has_no_lease() {
    let stage = Stage::new().await;
    let silent = stage.replica("silent", &["--kubernetes-status=false"]);
    let silent = silent.await;
    let _speaking = stage.replica("speaking", &[]).await;
    stage.apply(&per_user("research", 1)).await;
    silent.comes_to(&stage.server("research"), &[1]).await;
    stage
        .says("research", "1 of 1 replica enforces generation 1")
        .await;
    let leases = stage.kubectl(&["get", "leases", "-o", "name"]).await;
    assert!(!leases.contains("silent"), "{leases}");
}

#[tokio::test]
async fn the_younger_of_two_policies_for_one_server_is_conflicted_until_the_older_is_deleted() {
    let stage = Stage::new().await;
    let _replica = stage.replica("only", &[]).await;
    let of_research = |name| {
        policy(
            name,
            "server: research, global: {maxTokens: 1, refillPeriod: 1m}",
        )
    };
    // Of equally old ones the first by name counts, so it does not matter how fast this goes.
    stage.apply(&of_research("a")).await;
    stage.apply(&of_research("b")).await;
    stage
        .becomes("b", "Conflicted", "True", "OlderPolicy")
        .await;
    let winner = format!("RateLimitPolicy {}/a", stage.namespace);
    let (_, _, message) = stage.condition("b", "Conflicted").await;
    assert!(message.contains(&winner), "{message}");
    stage.becomes("b", "Enforced", "False", "Conflicted").await;
    stage.becomes("a", "Enforced", "True", "AllReplicas").await;
    stage
        .becomes("a", "Conflicted", "False", "OnlyPolicy")
        .await;
    stage
        .describes("ratelimitpolicy", "b", &["Warning", "Conflicted", &winner])
        .await;

    stage.kubectl(&["delete", "rlp", "a"]).await;
    stage
        .becomes("b", "Conflicted", "False", "OnlyPolicy")
        .await;
    stage.becomes("b", "Enforced", "True", "AllReplicas").await;
}

#[tokio::test]
async fn a_policy_that_is_wrong_is_not_accepted_and_says_which_field_until_it_is_mended() {
    let stage = Stage::alone(LAX_CRD).await;
    let _replica = stage.replica("only", &[]).await;
    stage.apply(&per_user("research", 1)).await;
    stage
        .becomes("research", "Enforced", "True", "AllReplicas")
        .await;

    stage.apply(&per_user("research", 0)).await;
    stage
        .becomes("research", "Accepted", "False", "Invalid")
        .await;
    let (_, _, message) = stage.condition("research", "Accepted").await;
    assert!(message.contains("spec.perUser.maxTokens"), "{message}");
    stage
        .becomes("research", "Enforced", "False", "LastGood")
        .await;
    let wrong = ["Warning", "Rejected", "spec.perUser.maxTokens"];
    stage.describes("ratelimitpolicy", "research", &wrong).await;

    stage.apply(&per_user("research", 2)).await;
    stage.becomes("research", "Accepted", "True", "Valid").await;
    stage
        .becomes("research", "Enforced", "True", "AllReplicas")
        .await;
    stage
        .describes("ratelimitpolicy", "research", &["Normal", "Accepted"])
        .await;

    stage.apply(&per_user("never-right", 0)).await;
    stage
        .becomes("never-right", "Enforced", "False", "NotAccepted")
        .await;
}

#[tokio::test]
async fn an_object_of_toolhive_that_is_wrong_has_an_event_and_is_not_written_to() {
    let stage = Stage::new().await;
    let _replica = stage.replica("only", &[]).await;
    let wrong = "\
        apiVersion: toolhive.stacklok.dev/v1beta1\n\
        kind: MCPServer\n\
        metadata: {name: fetch}\n\
        spec:\n  \
          image: fetch\n  \
          sessionStorage: {provider: redis, address: \"redis:6379\"}\n  \
          rateLimiting: {shared: {maxTokens: 11, refillPeriod: soon}}\n";
    stage.apply(wrong).await;
    let get = ["get", "mcpserver", "fetch", "-o", "yaml"];
    let get = [&get[..], &["--show-managed-fields"]].concat();
    let before = stage.kubectl(&get).await;
    let told = [
        "Warning",
        "Rejected",
        "spec.rateLimiting.shared.refillPeriod",
    ];
    stage.describes("mcpserver", "fetch", &told).await;
    assert_eq!(stage.kubectl(&get).await, before);
}

#[tokio::test]
async fn a_policy_and_a_younger_virtual_server_of_its_name_do_not_both_count() {
    let stage = Stage::new().await;
    let replica = stage.replica("only", &[]).await;
    let server = stage.server("research");
    stage.apply(&per_user("research", 3)).await;
    stage.apply(&virtual_server("research", 5)).await;
    let winner = format!("RateLimitPolicy {server}");
    let told = ["Warning", "Conflicted", &winner];
    stage.describes("virtualmcpserver", "research", &told).await;
    replica.comes_to(&server, &[3]).await;
    stage
        .becomes("research", "Conflicted", "False", "OnlyPolicy")
        .await;
    stage.kubectl(&["delete", "rlp", "research"]).await;
    replica.comes_to(&server, &[5]).await;
}

impl Stage {
    /// The status of the policy `name`; null if it has none.
    async fn status(&self, name: &str) -> Value {
        let policy = self.policies().await.get(name).await;
        let policy = policy.expect("the policy");
        policy.data.get("status").cloned().unwrap_or_default()
    }

    /// Status, reason and message of one of its conditions; empty if it has not that one.
    async fn condition(&self, name: &str, type_: &str) -> (String, String, String) {
        condition(&self.status(name).await, type_)
    }

    /// Waits until the policy's condition has that status for that reason, for its generation.
    async fn becomes(&self, name: &str, type_: &str, status: &str, reason: &str) {
        let what = format!("{name}: {type_}={status}, {reason}");
        eventually(&what, async || {
            let now = self.condition(name, type_).await;
            (now.0 == status && now.1 == reason).then_some(())
        })
        .await;
    }

    /// Waits until it is said of `Enforced`; and what the status is then.
    pub(crate) async fn says(&self, name: &str, message: &str) -> Value {
        let policies = self.policies().await;
        eventually(&format!("{name}: {message}"), async || {
            let policy = policies.get(name).await.ok()?;
            let status = policy.data.get("status")?;
            (condition(status, "Enforced").2 == message).then(|| status.clone())
        })
        .await
    }

    /// Waits until `kubectl describe` shows an event with these words.
    async fn describes(&self, kind: &str, name: &str, words: &[&str]) {
        eventually(&words.join(" "), async || {
            let shown = self.kubectl(&["describe", kind, name]).await;
            let has_all = |line: &str| words.iter().all(|word| line.contains(word));
            shown.lines().any(has_all).then_some(())
        })
        .await;
    }

    /// Which replica leads; empty if none does.
    async fn leader(&self) -> String {
        let holder = "jsonpath={.spec.holderIdentity}";
        let get = ["get", "lease", "toolgate", "-o", holder];
        self.kubectl(&get).await
    }
}
