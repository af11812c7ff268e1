//! Whose objects a limiter sees, and what it may not see.

use crate::stage::{Stage, per_user};

#[tokio::test]
async fn a_limiter_of_one_namespace_sees_no_other() {
    let (here, there) = (Stage::new().await, Stage::new().await);
    let replica = here.replica("only", &[]).await;
    there.apply(&per_user("research", 3)).await;
    let other = there.replica("other", &[]).await;
    other.comes_to(&there.server("research"), &[3]).await;
    here.apply(&per_user("research", 5)).await;
    replica.comes_to(&here.server("research"), &[5]).await;
    let unseen = replica.capacities(&there.server("research")).await;
    assert_eq!(unseen.expect("an answer"), [0; 0]);
}

#[tokio::test]
async fn roles_in_two_namespaces_are_enough_to_watch_both() {
    let (first, second) = (Stage::new().await, Stage::new().await);
    let both = format!("{},{}", first.namespace, second.namespace);
    first.grant(&both).await;
    let replica = first.watching(&both, "only", &[]).await;
    replica.becomes_ready().await;
    first.apply(&per_user("research", 2)).await;
    second.apply(&per_user("research", 4)).await;
    replica.comes_to(&first.server("research"), &[2]).await;
    replica.comes_to(&second.server("research"), &[4]).await;
}

#[tokio::test]
async fn a_star_sees_namespaces_that_come_later() {
    let stage = Stage::new().await;
    stage.grant("*").await;
    let replica = stage.watching("*", "only", &[]).await;
    replica.becomes_ready().await;
    let later = Stage::new().await;
    later.apply(&per_user("research", 6)).await;
    replica.comes_to(&later.server("research"), &[6]).await;
}

#[tokio::test]
async fn a_limiter_that_may_not_see_a_kind_says_so_and_is_not_ready() {
    let (here, there) = (Stage::new().await, Stage::new().await);
    let both = format!("{},{}", here.namespace, there.namespace);
    let replica = here.watching(&both, "only", &[]).await;
    for kind in ["ratelimitpolicies", "virtualmcpservers", "mcpservers"] {
        let forbidden = format!(r#"cannot list resource \"{kind}\""#);
        replica.logs(&forbidden).await;
    }
    assert!(!replica.is_ready().await);
    here.grant(&both).await;
    replica.becomes_ready().await;
}
