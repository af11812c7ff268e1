//! `deploy/sidecar`: the pods that it makes, run as pods.

use serde_json::{Value, json};
use tokio::process::Command;
use toolgate_tests::{
    ControlPlane, Process, RedisServer, eventually, foreign_crd, network_of_its_own,
};

use crate::{call::call, pod::Pod, repository, text};

const CRD: &str = "deploy/crds/toolgate.dev_ratelimitpolicies.yaml";
const SOCKET: &str = "unix:///run/toolgate/limiter.sock";

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).expect(path)
}

#[test]
fn toolhive_s_pods_get_the_same_limiter_as_ours() {
    let ours = yaml("deploy/sidecar/component/limiter.patch.yaml");
    let toolhives = yaml("deploy/sidecar/toolhive/virtualmcpserver.yaml");
    let ours = &ours["spec"]["template"];
    assert!(ours["spec"]["initContainers"].is_array());
    assert_eq!(ours, &toolhives["spec"]["podTemplateSpec"]);
}

#[tokio::test]
async fn a_gateway_asks_the_limiter_of_its_pod_and_no_other_user_may() {
    network_of_its_own().expect("a network");
    let plane = ControlPlane::start().await.expect("a control plane");
    plane.install_crds(&text(CRD)).await.expect("our CRD");
    for kind in ["virtualmcpservers", "mcpservers"] {
        let crd = foreign_crd(&format!("toolhive.stacklok.dev_{kind}.yaml"));
        let crd = crd.expect("ToolHive's CRD");
        plane.install_crds(&crd).await.expect("installed");
    }
    let redis = ["--port", "6379", "--bind", "127.0.0.1"];
    let _redis = RedisServer::start_with(&redis, None).await.expect("Redis");
    let mut backend = Command::new("mcp-server-everything");
    backend.arg("streamableHttp").env("PORT", "3001");
    let _backend = Process::start(&mut backend).expect("the reference server");

    for manifests in ["policy.yaml", "backend.yaml"] {
        let manifests = text(&format!("examples/everything/{manifests}"));
        let apply = ["apply", "-f", "-"];
        plane.kubectl(&apply, &manifests).await.expect("applied");
    }
    let example = repository("deploy/sidecar/example");
    let apply = ["apply", "-k", example.to_str().expect("UTF-8")];
    plane.kubectl(&apply, "").await.expect("applied");
    let pod = Pod::start(&plane, "default", "research").await;

    let limiter = pod.container(Some("toolgate"));
    let peek = ["peek", "default/research", "--user", "anonymous"];
    let peek = [
        &peek[..],
        &["--tool", "everything_echo", "--endpoint", SOCKET],
    ]
    .concat();
    eventually("the policy", async || {
        let output = limiter.exec_program(&peek).await.ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.contains("everything_echo").then_some(())
    })
    .await;
    let hello = json!({"message": "hello"});
    let first = eventually("the backend", async || {
        let answer = call("everything_echo", &hello).await;
        answer["result"].is_object().then_some(answer)
    });
    first.await;
    for _ in 2..=3 {
        let answer = call("everything_echo", &hello).await;
        assert!(answer["result"].is_object(), "{answer}");
    }
    let denied = call("everything_echo", &hello).await;
    assert_eq!(denied["error"]["code"], -32029, "{denied}");

    // The other user is in the same pod, and sees the same socket.
    let stranger = limiter.exec_program_as(1000, &peek).await.expect("it runs");
    let errors = String::from_utf8_lossy(&stranger.stderr);
    assert_eq!(stranger.status.code(), Some(1), "{errors}");
    assert!(
        errors.to_lowercase().contains("permission denied"),
        "{errors}"
    );
}

#[tokio::test]
async fn the_pod_template_makes_of_toolhive_s_pod_one_with_both_containers() {
    // As the operator makes it: cmd/thv-operator/controllers/virtualmcpserver_deployment.go.
    let operators = json!({
        "apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "research-vmcp"},
        "template": {"spec": {
            "serviceAccountName": "research-vmcp-vmcp",
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000},
            "containers": [{
                "name": "vmcp",
                "image": "vmcp",
                "volumeMounts": [{"name": "vmcp-config", "mountPath": "/etc/vmcp-config", "readOnly": true}],
                "securityContext": {"runAsUser": 1000, "runAsGroup": 1000},
            }],
            "volumes": [{"name": "vmcp-config", "configMap": {"name": "research-vmcp-config"}}],
        }},
    });
    let folder = tempfile::tempdir().expect("a folder");
    let base = folder.path().join("base.json");
    std::fs::write(&base, operators.to_string()).expect("a file");
    let toolhives = yaml("deploy/sidecar/toolhive/virtualmcpserver.yaml");
    let patch = json!({"template": toolhives["spec"]["podTemplateSpec"]}).to_string();
    let merged = Command::new("kubectl")
        .args([
            "patch",
            "--local",
            "--type",
            "strategic",
            "-o",
            "json",
            "-f",
        ])
        .arg(&base)
        .args(["--patch", &patch])
        .output();
    let merged = merged.await.expect("kubectl");
    let errors = String::from_utf8_lossy(&merged.stderr);
    assert!(merged.status.success(), "{errors}");
    let merged: Value = serde_json::from_slice(&merged.stdout).expect("JSON");
    let spec = &merged["template"]["spec"];

    let [gateway] = spec["containers"]
        .as_array()
        .expect("containers")
        .as_slice()
    else {
        panic!("{spec}");
    };
    assert_eq!(
        gateway["image"], "vmcp",
        "the operator's container is changed, not doubled"
    );
    let names = |list: &Value| -> Vec<String> {
        let list = list.as_array().expect("a list").iter();
        list.map(|item| item["name"].as_str().expect("a name").to_owned())
            .collect()
    };
    let mut mounts = names(&gateway["volumeMounts"]);
    mounts.sort_unstable();
    assert_eq!(mounts, ["limiter-socket", "vmcp-config"]);
    let mut volumes = names(&spec["volumes"]);
    volumes.sort_unstable();
    assert_eq!(volumes, ["limiter-config", "limiter-socket", "vmcp-config"]);
    assert_eq!(names(&spec["initContainers"]), ["toolgate"]);
    // The user of the socket is the gateway's.
    assert_eq!(spec["securityContext"]["runAsUser"], 1000);
    assert!(spec["initContainers"][0]["securityContext"]["runAsUser"].is_null());
}
