//! Whose objects a limiter sees, and what it may not see.

use crate::stage::{Replica, Stage, per_user};

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
    bind_also_in(&second, &first).await;
    let both = format!("{},{}", first.namespace, second.namespace);
    let kubeconfig = first.plane.kubeconfig_of(&first.namespace, "limiter").await;
    let kubeconfig = kubeconfig.expect("a kubeconfig");
    let replica = Replica::start(&kubeconfig, &both, "only", &[]).await;
    replica.becomes_ready().await;
    first.apply(&per_user("research", 2)).await;
    second.apply(&per_user("research", 4)).await;
    replica.comes_to(&first.server("research"), &[2]).await;
    replica.comes_to(&second.server("research"), &[4]).await;
}

#[tokio::test]
async fn a_star_sees_namespaces_that_come_later() {
    let stage = Stage::new().await;
    let binding = format!(
        "apiVersion: rbac.authorization.k8s.io/v1\n\
         kind: ClusterRole\n\
         metadata: {{name: {0}}}\n\
         rules:\n\
         - {{apiGroups: [toolgate.dev], resources: [ratelimitpolicies], verbs: [get, list, watch]}}\n\
         - apiGroups: [toolhive.stacklok.dev]\n  \
           resources: [virtualmcpservers, mcpservers]\n  \
           verbs: [get, list, watch]\n\
         ---\n\
         apiVersion: rbac.authorization.k8s.io/v1\n\
         kind: ClusterRoleBinding\n\
         metadata: {{name: {0}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {0}}}\n\
         subjects: [{{kind: ServiceAccount, name: limiter, namespace: {0}}}]\n",
        stage.namespace
    );
    stage.apply(&binding).await;
    let kubeconfig = stage.plane.kubeconfig_of(&stage.namespace, "limiter").await;
    let kubeconfig = kubeconfig.expect("a kubeconfig");
    let no_status = ["--kubernetes-status=false"];
    let replica = Replica::start(&kubeconfig, "*", "only", &no_status).await;
    replica.becomes_ready().await;
    let later = Stage::new().await;
    later.apply(&per_user("research", 6)).await;
    replica.comes_to(&later.server("research"), &[6]).await;
}

#[tokio::test]
async fn a_limiter_that_may_not_see_a_kind_says_so_and_is_not_ready() {
    let (here, there) = (Stage::new().await, Stage::new().await);
    let both = format!("{},{}", here.namespace, there.namespace);
    let kubeconfig = here.plane.kubeconfig_of(&here.namespace, "limiter").await;
    let kubeconfig = kubeconfig.expect("a kubeconfig");
    let replica = Replica::start(&kubeconfig, &both, "only", &[]).await;
    for kind in ["ratelimitpolicies", "virtualmcpservers", "mcpservers"] {
        replica
            .logs(&format!("cannot list resource \\\\\\\"{kind}"))
            .await;
    }
    assert!(!replica.is_ready().await);
    bind_also_in(&there, &here).await;
    replica.becomes_ready().await;
}

/// Lets the limiters of `whose` namespace do in `namespace` what they may do at home.
async fn bind_also_in(namespace: &Stage, whose: &Stage) {
    let binding = format!(
        "apiVersion: rbac.authorization.k8s.io/v1\n\
         kind: RoleBinding\n\
         metadata: {{name: guest}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: limiter}}\n\
         subjects: [{{kind: ServiceAccount, name: limiter, namespace: {}}}]\n",
        whose.namespace
    );
    namespace.apply(&binding).await;
}
