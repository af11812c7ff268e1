//! A namespace with what a limiter needs there, and limiters.

use std::{
    path::{Path, PathBuf},
    process::Output,
    sync::{Arc, Weak},
};

use kube::{
    Api,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Command,
    sync::Mutex,
};
use tonic::{Code, Status, transport::Channel};
use toolgate_proto::pb::{
    ListPoliciesRequest, PeekRequest, ReloadStatus, admin_service_client::AdminServiceClient,
    limiter_service_client::LimiterServiceClient,
};
use toolgate_tests::{ControlPlane, Limiter, eventually, foreign_crd, of_user, toolgate};

/// The name of the service account of limiters, which the chart calls like itself.
pub(crate) const LIMITER: &str = "limiter";

/// What tells every object of `RateLimitPolicy` right, as a CRD that is older than the limiter could.
pub(crate) const LAX_CRD: &str = include_str!("stage/lax-crd.yaml");

/// A namespace of the test's own.
pub(crate) struct Stage {
    pub(crate) plane: Arc<ControlPlane>,
    pub(crate) namespace: String,
    /// Of the service account of limiters.
    kubeconfig: PathBuf,
}

/// A limiter, and connections to look at it.
pub(crate) struct Replica {
    pub(crate) limiter: Limiter,
    client: LimiterServiceClient<Channel>,
    admin: AdminServiceClient<Channel>,
}

impl Stage {
    /// A namespace of the control plane that the tests of this process share while they overlap, with
    /// our CRD and those of ToolHive.
    pub(crate) async fn new() -> Self {
        static SHARED: Mutex<Weak<ControlPlane>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        let plane = if let Some(plane) = shared.upgrade() {
            plane
        } else {
            let plane = plane().await;
            install(&plane, &crd().await).await;
            install_toolhive(&plane).await;
            *shared = Arc::downgrade(&plane);
            plane
        };
        drop(shared);
        Self::on(plane).await
    }

    /// A namespace of a control plane of the test's own, with `crds` alone.
    pub(crate) async fn alone(crds: &str) -> Self {
        let plane = plane().await;
        install(&plane, crds).await;
        Self::on(plane).await
    }

    async fn on(plane: Arc<ControlPlane>) -> Self {
        let namespace = plane.namespace("test").await.expect("a namespace");
        let mut stage = Self {
            plane,
            namespace,
            kubeconfig: PathBuf::new(),
        };
        stage.grant(&stage.namespace).await;
        let kubeconfig = stage.plane.kubeconfig_of(&stage.namespace, LIMITER).await;
        stage.kubeconfig = kubeconfig.expect("a kubeconfig");
        stage
    }

    /// Gives the limiters of this namespace the rights that the chart gives those that watch
    /// `namespaces`, and no others.
    pub(crate) async fn grant(&self, namespaces: &str) {
        let watched = format!("policies.kubernetes.namespaces={{{namespaces}}}");
        let name = format!("fullnameOverride={LIMITER}");
        let rights = ["templates/rbac.yaml", "templates/serviceaccount.yaml"];
        let output = Command::new("helm")
            .args(["template", LIMITER])
            .arg(charts().join("toolgate"))
            .args(["--namespace", &self.namespace])
            .args(["--set", &watched, "--set", &name])
            .args(rights.into_iter().flat_map(|file| ["-s", file]))
            .output();
        let output = output.await.expect("run `make tools`");
        assert!(output.status.success(), "{output:?}");
        let rights = String::from_utf8(output.stdout).expect("UTF-8");
        let applied = self.plane.kubectl(&["apply", "-f", "-"], &rights);
        applied.await.expect("rights");
    }

    /// The control plane, to stop and start it.
    pub(crate) fn own_plane(&mut self) -> &mut ControlPlane {
        Arc::get_mut(&mut self.plane).expect("nobody else's")
    }

    /// A limiter of this namespace, which is ready.
    pub(crate) async fn replica(&self, name: &str, arguments: &[&str]) -> Replica {
        let replica = self.unready(name, arguments).await;
        replica.becomes_ready().await;
        replica
    }

    /// A limiter of this namespace, which need not be ready.
    pub(crate) async fn unready(&self, name: &str, arguments: &[&str]) -> Replica {
        self.watching(&self.namespace, name, arguments).await
    }

    /// A limiter of `namespaces`, which need not be ready.
    pub(crate) async fn watching(
        &self,
        namespaces: &str,
        name: &str,
        arguments: &[&str],
    ) -> Replica {
        Replica::start(&self.kubeconfig, namespaces, name, arguments).await
    }

    /// Applies manifests in this namespace.
    pub(crate) async fn apply(&self, manifests: &str) {
        let applied = self.plane.apply(&self.namespace, manifests).await;
        applied.expect("applied");
    }

    /// What kubectl says of this namespace.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        let here = [&["-n", &self.namespace], arguments].concat();
        self.plane.kubectl(&here, "").await.expect("kubectl")
    }

    /// The policies of this namespace, for an administrator.
    pub(crate) async fn policies(&self) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("toolgate.dev", "v1alpha1", "RateLimitPolicy");
        let resource = ApiResource::from_gvk_with_plural(&kind, "ratelimitpolicies");
        let client = self.plane.client().await.expect("a client");
        Api::namespaced_with(client, &self.namespace, &resource)
    }

    /// The server `name` of this namespace.
    pub(crate) fn server(&self, name: &str) -> String {
        format!("{}/{name}", self.namespace)
    }
}

impl Replica {
    /// A limiter of `namespaces`, which need not be ready.
    pub(crate) async fn start(
        kubeconfig: &Path,
        namespaces: &str,
        name: &str,
        arguments: &[&str],
    ) -> Self {
        let all = [&["--kubernetes-replica", name], arguments].concat();
        let limiter = Limiter::in_cluster(kubeconfig, namespaces, all).await;
        let limiter = limiter.expect("a limiter");
        Self {
            client: limiter.client().await.expect("a connection"),
            admin: limiter.admin().await.expect("a connection"),
            limiter,
        }
    }

    /// Waits until it is.
    pub(crate) async fn becomes_ready(&self) {
        eventually("it is ready", async || self.is_ready().await.then_some(())).await;
    }

    pub(crate) async fn is_ready(&self) -> bool {
        self.get("/readyz").await == 200
    }

    /// The status with which it answers over HTTP.
    pub(crate) async fn get(&self, path: &str) -> u16 {
        let connection = TcpStream::connect(self.limiter.http_address()).await;
        let mut connection = connection.expect("HTTP is served");
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let sent = connection.write_all(request.as_bytes()).await;
        sent.expect("sent");
        let mut reply = String::new();
        let read = connection.read_to_string(&mut reply).await;
        read.expect("a reply");
        let status = reply.split(' ').nth(1).expect("a status line");
        status.parse().expect("a number")
    }

    /// The capacities of the buckets of a call to `server`.
    pub(crate) async fn capacities(&self, server: &str) -> Result<Vec<u32>, Status> {
        let mut check = of_user("alice");
        server.clone_into(&mut check.server);
        let request = PeekRequest { check: Some(check) };
        let reply = self.client.clone().peek(request).await?.into_inner();
        let buckets = reply.check.expect("an answer").buckets;
        Ok(buckets.into_iter().map(|bucket| bucket.capacity).collect())
    }

    /// Waits until a call to `server` touches buckets of these capacities.
    pub(crate) async fn comes_to(&self, server: &str, capacities: &[u32]) {
        let what = format!("{capacities:?} for {server}");
        eventually(&what, async || {
            let now = self.capacities(server).await;
            (now.ok()? == capacities).then_some(())
        })
        .await;
    }

    /// How it last read its policies.
    pub(crate) async fn reload(&self) -> ReloadStatus {
        let reply = self
            .admin
            .clone()
            .list_policies(ListPoliciesRequest::default())
            .await;
        let reply = reply.expect("an answer").into_inner();
        reply.reload.expect("a reload")
    }

    /// Waits until what it complains of contains `text`.
    pub(crate) async fn complains_of(&self, text: &str) {
        eventually(text, async || {
            let errors = self.reload().await.rejected;
            errors
                .iter()
                .any(|error| error.contains(text))
                .then_some(())
        })
        .await;
    }

    /// Waits until its log contains `text`.
    pub(crate) async fn logs(&self, text: &str) {
        eventually(text, async || {
            let log = self.limiter.log().expect("a log");
            log.contains(text).then_some(())
        })
        .await;
    }

    /// `toolgate check`, as people run it.
    pub(crate) async fn check(&self, server: &str, arguments: &[&str]) -> Output {
        Command::new(toolgate().expect("built"))
            .args(["check", server, "--timeout", "30s"])
            .args(["--endpoint", self.limiter.endpoint()])
            .args(arguments)
            .output()
            .await
            .expect("it runs")
    }

    /// The code with which it refuses to decide a check, if it does.
    pub(crate) async fn refusal(&self, server: &str) -> Option<Code> {
        let answer = self.capacities(server).await;
        answer.err().map(|status| status.code())
    }
}

/// A `RateLimitPolicy`; `spec` is the YAML inside `spec: {}`.
pub(crate) fn policy(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: toolgate.dev/v1alpha1, kind: RateLimitPolicy, metadata: {{name: {name}}}, \
         spec: {{{spec}}}}}"
    )
}

/// A `RateLimitPolicy` with so many calls a day for each user.
pub(crate) fn per_user(name: &str, calls: u32) -> String {
    policy(
        name,
        &format!("perUser: {{maxTokens: {calls}, refillPeriod: 24h}}"),
    )
}

/// Status, reason and message of a condition; empty if there is none of that type.
pub(crate) fn condition(status: &Value, type_: &str) -> (String, String, String) {
    let conditions = status["conditions"].as_array();
    let condition = conditions
        .into_iter()
        .flatten()
        .find(|one| one["type"] == type_);
    let text = |field: &str| {
        let text = condition.and_then(|condition| condition[field].as_str());
        text.unwrap_or_default().to_owned()
    };
    (text("status"), text("reason"), text("message"))
}

/// Our CRD, as people get it.
pub(crate) async fn crd() -> String {
    let toolgate = toolgate().expect("built");
    let output = Command::new(toolgate).arg("crd").output().await;
    let output = output.expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Installs ToolHive's CRDs.
pub(crate) async fn install_toolhive(plane: &ControlPlane) {
    for kind in ["virtualmcpservers", "mcpservers"] {
        let crd = foreign_crd(&format!("toolhive.stacklok.dev_{kind}.yaml"));
        install(plane, &crd.expect("ToolHive's CRD")).await;
    }
}

/// The folder of the charts.
pub(crate) fn charts() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/helm"))
}

async fn plane() -> Arc<ControlPlane> {
    Arc::new(ControlPlane::start().await.expect("a control plane"))
}

pub(crate) async fn install(plane: &ControlPlane, crds: &str) {
    plane.install_crds(crds).await.expect("installed");
}
