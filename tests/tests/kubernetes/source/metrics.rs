//! What a limiter shows of the cluster that has its policies.

use std::collections::BTreeMap;

use toolgate_tests::documented;

use crate::stage::{Stage, per_user};

#[tokio::test]
async fn what_is_shown_of_the_cluster_is_what_is_documented() {
    let stage = Stage::new().await;
    let replica = stage.replica("only", &[]).await;
    stage.apply(&per_user("research", 5)).await;
    replica.comes_to(&stage.server("research"), &[5]).await;
    let exposition = replica.limiter.metrics().await.expect("an exposition");
    let shown: BTreeMap<_, _> = exposition
        .kinds()
        .into_iter()
        .filter(|(name, _)| name.starts_with("toolgate_kubernetes_"))
        .map(|(name, kind)| (name, kind.to_owned()))
        .collect();
    let rows = documented("Metrics of policies from a cluster");
    let rows: BTreeMap<_, _> = rows
        .into_iter()
        .map(|(name, row)| (name, row.kind))
        .collect();
    assert_eq!(shown, rows);
    let objects = exposition.counted("toolgate_kubernetes_objects");
    let in_force = r#"kind="RateLimitPolicy",verdict="in_force""#;
    assert!(
        objects
            .iter()
            .any(|(labels, count)| labels.contains(in_force) && *count == 1),
        "{objects:?}"
    );
}
