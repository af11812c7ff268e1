//! What objects that come, change and go do to limits.

use toolgate_tests::eventually;

use crate::stage::{LAX_CRD, Stage, install_toolhive, per_user, policy};

#[tokio::test]
async fn a_policy_is_enforced_when_it_is_created_changed_and_deleted() {
    let stage = Stage::new().await;
    let replica = stage.replica("only", &[]).await;
    let server = stage.server("research");
    let alice = ["--user", "alice", "-n", "3"];
    let unlimited = replica.check(&server, &alice).await;
    assert_eq!(unlimited.status.code(), Some(0), "{unlimited:?}");

    stage.apply(&per_user("research", 2)).await;
    replica.comes_to(&server, &[2]).await;
    let limited = replica.check(&server, &alice).await;
    assert_eq!(limited.status.code(), Some(3), "{limited:?}");

    stage.apply(&per_user("research", 5)).await;
    replica.comes_to(&server, &[5]).await;
    // A change hands out no fresh burst.
    let limited = replica.check(&server, &alice).await;
    assert_eq!(limited.status.code(), Some(3), "{limited:?}");
    let other = ["--user", "bob", "-n", "5"];
    let allowed = replica.check(&server, &other).await;
    assert_eq!(allowed.status.code(), Some(0), "{allowed:?}");

    stage
        .kubectl(&["delete", "ratelimitpolicy", "research"])
        .await;
    replica.comes_to(&server, &[]).await;
    let unlimited = replica.check(&server, &alice).await;
    assert_eq!(unlimited.status.code(), Some(0), "{unlimited:?}");
}

#[tokio::test]
async fn of_two_policies_for_one_server_the_older_is_enforced_until_it_is_deleted() {
    let stage = Stage::new().await;
    let replica = stage.replica("first", &[]).await;
    let server = stage.server("research");
    let of_research = |name, calls| {
        let limits = format!("perUser: {{maxTokens: {calls}, refillPeriod: 24h}}");
        policy(name, &format!("server: research, {limits}"))
    };
    stage.apply(&of_research("zebra", 7)).await;
    replica.comes_to(&server, &[7]).await;

    // By name it would be the first; a time of creation has whole seconds.
    let created = async |name| {
        let path = "jsonpath={.metadata.creationTimestamp}";
        let get = ["get", "ratelimitpolicy", name, "-o", path];
        stage.kubectl(&get).await
    };
    let before = created("zebra").await;
    eventually("a later second", async || {
        stage.apply(&of_research("aardvark", 3)).await;
        if created("aardvark").await > before {
            return Some(());
        }
        let delete = ["delete", "ratelimitpolicy", "aardvark"];
        stage.kubectl(&delete).await;
        None
    })
    .await;
    let loses = format!(
        "server {server} is limited by RateLimitPolicy {}/zebra, which came first",
        stage.namespace
    );
    replica.complains_of(&loses).await;
    replica.comes_to(&server, &[7]).await;
    // One that has seen neither before comes to the same.
    let late = stage.replica("late", &[]).await;
    late.comes_to(&server, &[7]).await;

    stage.kubectl(&["delete", "ratelimitpolicy", "zebra"]).await;
    for replica in [&replica, &late] {
        replica.comes_to(&server, &[3]).await;
        let rejected = replica.reload().await.rejected;
        assert_eq!(rejected, [""; 0]);
    }
}

#[tokio::test]
async fn a_policy_that_is_wrong_keeps_its_last_good_limits_and_holds_up_no_other() {
    let stage = Stage::alone(LAX_CRD).await;
    stage.apply(&per_user("steady", 4)).await;
    stage.apply(&per_user("research", 2)).await;
    let replica = stage.replica("first", &[]).await;
    let (steady, research) = (stage.server("steady"), stage.server("research"));
    replica.comes_to(&research, &[2]).await;

    stage.apply(&per_user("research", 0)).await;
    let wrong = format!("RateLimitPolicy {research}: spec.perUser.maxTokens");
    replica.complains_of(&wrong).await;
    replica.comes_to(&research, &[2]).await;
    // One team's mistake is no alert of the platform's.
    let metrics = replica.limiter.metrics().await.expect("metrics");
    assert_eq!(metrics.value("toolgate_policy_last_reload_successful"), 1);
    assert_eq!(replica.reload().await.errors, [""; 0]);
    stage.apply(&per_user("steady", 6)).await;
    replica.comes_to(&steady, &[6]).await;
    stage.apply(&per_user("new", 8)).await;
    replica.comes_to(&stage.server("new"), &[8]).await;
    replica.comes_to(&research, &[2]).await;

    // One that starts now has never seen it right, and enforces all others.
    let late = stage.replica("late", &[]).await;
    late.comes_to(&steady, &[6]).await;
    late.comes_to(&research, &[]).await;
    late.complains_of(&wrong).await;

    stage.apply(&per_user("research", 3)).await;
    for replica in [&replica, &late] {
        replica.comes_to(&research, &[3]).await;
        assert_eq!(replica.reload().await.rejected, [""; 0]);
    }
}

#[tokio::test]
async fn an_object_of_toolhive_that_its_crd_lets_pass_and_that_is_wrong_holds_up_nobody() {
    let stage = Stage::new().await;
    let vmcp = |period| {
        format!(
            "apiVersion: toolhive.stacklok.dev/v1beta1\n\
             kind: VirtualMCPServer\n\
             metadata: {{name: vmcp}}\n\
             spec:\n  \
               incomingAuth: {{type: anonymous}}\n  \
               groupRef: {{name: tools}}\n  \
               sessionStorage: {{provider: redis, address: \"redis:6379\"}}\n  \
               config: {{rateLimiting: {{shared: {{maxTokens: 9, refillPeriod: {period}}}}}}}\n"
        )
    };
    let replica = stage.replica("only", &[]).await;
    stage.apply(&vmcp("1h0m0s")).await;
    let server = stage.server("vmcp");
    replica.comes_to(&server, &[9]).await;
    stage.apply(&vmcp("soon")).await;
    let wrong = format!("VirtualMCPServer {server}: spec.config.rateLimiting.shared.refillPeriod");
    replica.complains_of(&wrong).await;
    stage.apply(&per_user("other", 2)).await;
    replica.comes_to(&stage.server("other"), &[2]).await;
    replica.comes_to(&server, &[9]).await;
}

#[tokio::test]
async fn toolhive_may_be_installed_after_the_limiter() {
    let stage = Stage::alone(&crate::stage::crd().await).await;
    let replica = stage.replica("only", &[]).await;
    replica
        .logs("the cluster does not serve this kind yet")
        .await;
    install_toolhive(&stage.plane).await;
    let server = "\
        apiVersion: toolhive.stacklok.dev/v1beta1\n\
        kind: MCPServer\n\
        metadata: {name: fetch}\n\
        spec:\n  \
          image: fetch\n  \
          sessionStorage: {provider: redis, address: \"redis:6379\"}\n  \
          rateLimiting: {shared: {maxTokens: 11, refillPeriod: 1h0m0s}}\n";
    stage.apply(server).await;
    replica.comes_to(&stage.server("fetch"), &[11]).await;
}

#[tokio::test]
async fn our_own_crd_may_be_deleted_and_installed_again() {
    let stage = Stage::alone(&crate::stage::crd().await).await;
    stage.apply(&per_user("research", 3)).await;
    let replica = stage.replica("only", &[]).await;
    let server = stage.server("research");
    replica.comes_to(&server, &[3]).await;
    stage
        .kubectl(&["delete", "crd", "ratelimitpolicies.toolgate.dev"])
        .await;
    // Its objects are deleted with it.
    replica.comes_to(&server, &[]).await;
    let crd = crate::stage::crd().await;
    stage.plane.install_crds(&crd).await.expect("installed");
    stage.apply(&per_user("research", 4)).await;
    replica.comes_to(&server, &[4]).await;
    assert!(replica.is_ready().await);
}
