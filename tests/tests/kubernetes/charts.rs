//! What the Helm charts render, judged by a real API server, and the rights that they give.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};
use serde::Deserialize;
use tokio::process::Command;
use toolgate_tests::{ControlPlane, foreign_crd};

use crate::stage::{Replica, Stage, crd, install, install_toolhive, per_user};

/// Where releases go, beside the namespaces of which a variant takes policies.
const NAMESPACE: &str = "toolgate-system";
const NAMESPACES: [&str; 3] = [NAMESPACE, "team-a", "team-b"];

#[tokio::test]
async fn an_api_server_takes_all_that_the_charts_render() {
    let stage = Stage::new().await;
    prepare(&stage.plane).await;
    for kind in [
        "cert-manager.io_certificates",
        "monitoring.coreos.com_prometheusrules",
        "monitoring.coreos.com_servicemonitors",
    ] {
        let crd = foreign_crd(&format!("{kind}.yaml")).expect("a CRD");
        install(&stage.plane, &crd).await;
    }
    let mut rendered = Vec::new();
    for chart in ["toolgate", "vmcp"] {
        for values in variants(chart) {
            rendered.push(render(chart, values.as_deref()).await);
        }
    }
    assert!(rendered.len() >= 15, "only {} variants", rendered.len());
    let apply = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
    let all = rendered.join("\n---\n");
    stage.plane.kubectl(&apply, &all).await.expect("taken");
}

#[tokio::test]
async fn a_limiter_needs_no_more_than_the_rights_that_the_chart_gives_everywhere() {
    let stage = Stage::new().await;
    prepare(&stage.plane).await;
    install_release(&stage.plane, None, "*").await;
    for what in [
        "list toolgate.dev ratelimitpolicies *",
        "watch toolhive.stacklok.dev virtualmcpservers team-b",
    ] {
        assert!(may(&stage.plane, what).await, "{what}");
    }
    has_no_more(&stage.plane).await;
}

#[tokio::test]
async fn a_limiter_of_some_namespaces_has_rights_in_those_alone() {
    // A control plane of its own: rights in all namespaces, given by another test, would hide those.
    let stage = Stage::alone(&crd().await).await;
    install_toolhive(&stage.plane).await;
    prepare(&stage.plane).await;
    let values = charts().join("toolgate/ci/namespaces-values.yaml");
    install_release(&stage.plane, Some(&values), "team-a,team-b").await;
    for what in [
        "list toolgate.dev ratelimitpolicies *",
        "list toolgate.dev ratelimitpolicies default",
        "get toolhive.stacklok.dev mcpservers default",
    ] {
        assert!(!may(&stage.plane, what).await, "{what}");
    }
    has_no_more(&stage.plane).await;
}

/// Applies what the chart renders, and starts a limiter with its settings and its service account,
/// which then has to enforce a policy and say so.
async fn install_release(plane: &ControlPlane, values: Option<&Path>, namespaces: &str) {
    let rendered = render("toolgate", values).await;
    // Each object names its namespace.
    let applied = plane.kubectl(&["apply", "--validate=strict", "-f", "-"], &rendered);
    applied.await.expect("applied");
    let kubeconfig = plane.kubeconfig_of(NAMESPACE, "toolgate").await;
    let kubeconfig = kubeconfig.expect("a token");
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("config.yaml");
    fs::write(&config, settings(&rendered)).expect("written");
    let config = ["--config", config.to_str().expect("UTF-8")];
    let replica = Replica::start(&kubeconfig, namespaces, "pod-0", &config).await;
    replica.becomes_ready().await;
    let policy = per_user("research", 7);
    plane.apply("team-a", &policy).await.expect("applied");
    replica.comes_to("team-a/research", &[7]).await;
    // Which takes Leases, and the right to write it.
    let said = "--for=condition=Enforced ratelimitpolicy/research -n team-a --timeout=60s";
    let wait: Vec<_> = ["wait"].into_iter().chain(said.split(' ')).collect();
    plane.kubectl(&wait, "").await.expect("enforced");
}

/// What a limiter may do besides, and what it may not.
async fn has_no_more(plane: &ControlPlane) {
    for what in [
        "patch toolgate.dev ratelimitpolicies/status team-a",
        "create events.k8s.io events team-a",
        "create coordination.k8s.io leases toolgate-system",
        "delete coordination.k8s.io leases toolgate-system",
    ] {
        assert!(may(plane, what).await, "{what}");
    }
    for what in [
        "update toolgate.dev ratelimitpolicies team-a",
        "patch toolhive.stacklok.dev virtualmcpservers team-a",
        "patch toolhive.stacklok.dev mcpservers/status team-a",
        "get coordination.k8s.io leases team-a",
        "get core secrets toolgate-system",
        "get core configmaps toolgate-system",
        "list core pods toolgate-system",
    ] {
        assert!(!may(plane, what).await, "{what}");
    }
}

/// Whether the release's service account may: a verb, a group, a resource, and a namespace or `*`.
async fn may(plane: &ControlPlane, what: &str) -> bool {
    let [verb, group, resource, namespace] = what
        .split(' ')
        .collect::<Vec<_>>()
        .try_into()
        .expect("four words");
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, part)) => (resource, Some(part.to_owned())),
        None => (resource, None),
    };
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{NAMESPACE}:toolgate")),
            resource_attributes: Some(ResourceAttributes {
                verb: Some(verb.to_owned()),
                group: Some(group.to_owned()).filter(|group| group != "core"),
                resource: Some(resource.to_owned()),
                subresource,
                namespace: Some(namespace.to_owned()).filter(|name| name != "*"),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let client = plane.client().await.expect("a client");
    let (reviews, parameters) = (Api::all(client), PostParams::default());
    let answer: SubjectAccessReview = reviews
        .create(&parameters, &review)
        .await
        .expect("an answer");
    answer.status.expect("a status").allowed
}

/// Makes the namespaces, which others may have made.
async fn prepare(plane: &ControlPlane) {
    let manifest =
        |name| format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}");
    let manifests = NAMESPACES.map(manifest).join("\n---\n");
    let made = plane.kubectl(&["apply", "--server-side", "-f", "-"], &manifests);
    made.await.expect("namespaces");
}

fn charts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/helm")
}

/// The files in the chart's `ci/`, and no file at all if that is enough.
fn variants(chart: &str) -> Vec<Option<PathBuf>> {
    let folder = charts().join(chart).join("ci");
    let files = fs::read_dir(&folder).expect("variants");
    let mut found: Vec<_> = files
        .map(|file| Some(file.expect("a file").path()))
        .collect();
    if !folder.join("default-values.yaml").exists() {
        found.push(None);
    }
    found
}

/// What real Helm makes of the chart.
async fn render(chart: &str, values: Option<&Path>) -> String {
    let mut helm = Command::new("helm");
    helm.args(["template", chart, "--namespace", NAMESPACE])
        .arg(charts().join(chart));
    if let Some(values) = values {
        helm.arg("--values").arg(values);
    }
    let output = helm.output().await.expect("run `make tools`");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The settings file among what the chart of the limiter has rendered.
fn settings(rendered: &str) -> String {
    #[derive(Deserialize)]
    struct Manifest {
        kind: String,
        #[serde(default)]
        data: BTreeMap<String, String>,
    }
    let manifests: Vec<Manifest> = serde_saphyr::from_multiple(rendered).expect("manifests");
    let mut config_maps = manifests
        .into_iter()
        .filter(|manifest| manifest.kind == "ConfigMap");
    let config_map = config_maps.next().expect("a ConfigMap");
    config_map.data["config.yaml"].clone()
}
