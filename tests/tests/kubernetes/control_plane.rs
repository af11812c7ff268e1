//! That the control plane is one: what the other tests stand on.

use toolgate_tests::{ControlPlane, foreign_crd};

#[tokio::test]
async fn it_is_the_version_that_go_mod_names() {
    let plane = ControlPlane::start().await.expect("a control plane");
    let client = plane.client().await.expect("a client");
    let version = client.apiserver_version().await.expect("it answers");
    let named = include_str!("../../kubernetes/go.mod")
        .lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "))
        .and_then(|rest| rest.split_whitespace().next());
    assert_eq!(Some(version.git_version.as_str()), named);
}

#[tokio::test]
async fn a_service_account_may_do_what_its_roles_say_and_no_more() {
    let plane = ControlPlane::start().await.expect("a control plane");
    let namespace = plane.namespace("roles").await.expect("a namespace");
    let account = "\
        {apiVersion: v1, kind: ServiceAccount, metadata: {name: reader}}\n---\n\
        apiVersion: rbac.authorization.k8s.io/v1\n\
        kind: Role\n\
        metadata: {name: reader}\n\
        rules: [{apiGroups: [\"\"], resources: [configmaps], verbs: [list]}]\n---\n\
        apiVersion: rbac.authorization.k8s.io/v1\n\
        kind: RoleBinding\n\
        metadata: {name: reader}\n\
        roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}\n\
        subjects: [{kind: ServiceAccount, name: reader}]\n";
    plane.apply(&namespace, account).await.expect("applied");
    let reader = plane.kubeconfig_of(&namespace, "reader").await;
    let reader = reader.expect("a token");
    let reader = format!("--kubeconfig={}", reader.display());
    let get = async |what, of| plane.kubectl(&["get", what, "-n", of, &reader], "").await;
    get("configmaps", &namespace).await.expect("allowed");
    for (what, of) in [("secrets", &*namespace), ("configmaps", "default")] {
        let refused = get(what, of).await.expect_err("forbidden").to_string();
        assert!(refused.contains("Forbidden"), "{refused}");
    }
}

#[tokio::test]
async fn an_api_server_that_was_killed_comes_back_with_all_that_it_held() {
    let mut plane = ControlPlane::start().await.expect("a control plane");
    let crd = foreign_crd("toolhive.stacklok.dev_virtualmcpservers.yaml").expect("a CRD");
    plane.install_crds(&crd).await.expect("installed");
    let namespace = plane.namespace("kept").await.expect("a namespace");
    plane.stop_api_server().await.expect("stopped");
    plane.kubectl(&["get", "ns"], "").await.expect_err("away");
    plane.start_api_server().await.expect("started");
    let found = plane.kubectl(&["get", "vmcp", "-n", &namespace], "").await;
    assert_eq!(found.expect("served"), "");
    plane
        .kubectl(&["get", "ns", &namespace], "")
        .await
        .expect("kept");
}
