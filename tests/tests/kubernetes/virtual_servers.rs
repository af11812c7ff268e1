//! The limits of ToolHive's own objects.

use std::time::Duration;

use tokio::time::Instant;
use toolgate_tests::RedisServer;

use crate::{
    figures::Figures,
    stage::{Replica, Stage},
};

/// What a very busy machine may take. It is some 0.1 s when all is well.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_virtual_server_that_is_applied_limits_checks_at_two_replicas_together() {
    let stage = Stage::new().await;
    let redis = RedisServer::start().await.expect("Redis");
    // On a busy machine Redis may be late, and a replica would then decide alone.
    let store = ["--store", &redis.url(), "--store-timeout", "50s"];
    let first = stage.replica("first", &store).await;
    let second = stage.replica("second", &store).await;
    let (mut enforced, mut denied) = (Figures::default(), Figures::default());
    for turn in 0..20 {
        let name = format!("research-{turn}");
        let server = stage.server(&name);
        stage.apply(&virtual_server(&name, 2)).await;
        let applied = Instant::now();
        first.comes_to(&server, &[2]).await;
        second.comes_to(&server, &[2]).await;
        enforced.add(applied.elapsed());
        let code = async |replica: &Replica| {
            let checked = replica.check(&server, &["--user", "alice"]).await;
            checked.status.code()
        };
        assert_eq!(code(&first).await, Some(0));
        assert_eq!(code(&second).await, Some(0));
        // The two calls have been spent, one at each replica.
        assert_eq!(code(&first).await, Some(3));
        assert_eq!(code(&second).await, Some(3));
        denied.add(applied.elapsed());
    }
    enforced.print("VirtualMCPServer: kubectl apply has returned -> enforced by both replicas");
    denied.print("VirtualMCPServer: kubectl apply has returned -> 4 toolgate checks, 2 denied");
    assert!(denied.median() < SOON, "{denied:?}");
}

#[tokio::test]
async fn the_example_is_taken_by_toolhive_s_own_crd_and_enforced() {
    let stage = Stage::new().await;
    let replica = stage.replica("only", &[]).await;
    let example = include_str!("../../../examples/toolhive-virtualmcpserver.yaml");
    let here = format!("namespace: {}", stage.namespace);
    stage
        .apply(&example.replace("namespace: default", &here))
        .await;
    replica
        .comes_to(&stage.server("research-vmcp"), &[100])
        .await;
}

#[tokio::test]
async fn objects_of_toolhive_are_never_written_to() {
    let stage = Stage::new().await;
    let replica = stage.replica("only", &[]).await;
    stage.apply(&virtual_server("research", 2)).await;
    let get = ["get", "virtualmcpserver", "research", "-o", "yaml"];
    let get = [&get[..], &["--show-managed-fields"]].concat();
    let before = stage.kubectl(&get).await;
    replica.comes_to(&stage.server("research"), &[2]).await;
    stage.apply(&virtual_server("other", 3)).await;
    replica.comes_to(&stage.server("other"), &[3]).await;
    assert_eq!(stage.kubectl(&get).await, before);
}

/// A `VirtualMCPServer` with so many calls a day for each user.
pub(crate) fn virtual_server(name: &str, calls: u32) -> String {
    format!(
        "apiVersion: toolhive.stacklok.dev/v1beta1\n\
         kind: VirtualMCPServer\n\
         metadata: {{name: {name}}}\n\
         spec:\n  \
           groupRef: {{name: tools}}\n  \
           incomingAuth: {{type: oidc, oidcConfigRef: {{name: login, audience: vmcp}}}}\n  \
           sessionStorage: {{provider: redis, address: \"redis:6379\"}}\n  \
           config:\n    \
             rateLimiting: {{perUser: {{maxTokens: {calls}, refillPeriod: 24h0m0s}}}}\n"
    )
}
