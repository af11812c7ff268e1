//! A control plane of Kubernetes: etcd, kube-apiserver with RBAC, and kubectl.
//!
//! No controller runs: nobody deletes what is in a namespace, or makes the service account `default`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::api::{Api, PostParams};
use tokio::time::timeout;

use crate::PATIENCE;

mod access;
mod api_server;
mod crd;
mod etcd;
mod kubectl;

use access::{Access, Identity};
use api_server::ApiServer;
use etcd::Etcd;

/// A control plane of the test's own.
#[derive(Debug)]
pub struct ControlPlane {
    // Ended in this order.
    api_server: ApiServer,
    _etcd: Etcd,
    access: Access,
}

impl ControlPlane {
    /// One that is ready and holds nothing but what kube-apiserver brings.
    pub async fn start() -> Result<Self> {
        let etcd = Etcd::start()?;
        let access = Access::new();
        let api_server = ApiServer::start(&access, etcd.folder()).await?;
        Ok(Self {
            api_server,
            _etcd: etcd,
            access,
        })
    }

    /// Kills the API server, as a crash would.
    pub async fn stop_api_server(&mut self) -> Result<()> {
        self.api_server.stop().await
    }

    /// Starts the API server anew, at the same address and with all that it held. It is ready then.
    pub async fn start_api_server(&mut self) -> Result<()> {
        self.api_server.start_again(&self.access).await
    }

    /// The kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.access.kubeconfig("admin")
    }

    /// Where the API server listens.
    pub fn address(&self) -> SocketAddr {
        self.api_server.address()
    }

    /// A kubeconfig of a service account, with a token that is valid for an hour. It may do what its
    /// roles say.
    pub async fn kubeconfig_of(&self, namespace: &str, service_account: &str) -> Result<PathBuf> {
        let address = self.address();
        self.kubeconfig_via(address, namespace, service_account)
            .await
    }

    /// As [`ControlPlane::kubeconfig_of`], by way of `address`, from where a [`crate::FaultProxy`] may
    /// lead to the API server.
    pub async fn kubeconfig_via(
        &self,
        address: SocketAddr,
        namespace: &str,
        service_account: &str,
    ) -> Result<PathBuf> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: Some(3_600),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let parameters = PostParams::default();
        let request = accounts.create_token_request(service_account, &parameters, &request);
        let status = request.await?.status;
        let token = status.and_then(|status| status.token).context("a token")?;
        let name = format!("{namespace}-{service_account}");
        let identity = Identity::Token {
            token: &token,
            namespace,
        };
        Ok(self.access.write_kubeconfig(&name, address, &identity))
    }

    /// A client of an administrator, for the runtime that this is called on.
    pub async fn client(&self) -> Result<kube::Client> {
        access::client(&self.kubeconfig()).await
    }

    /// What kubectl says, as an administrator and with `stdin`; what it complains of is the error.
    pub async fn kubectl(&self, arguments: &[&str], stdin: &str) -> Result<String> {
        kubectl::run(&self.kubeconfig(), arguments, stdin).await
    }

    /// Applies manifests; what names no namespace goes into this one.
    pub async fn apply(&self, namespace: &str, manifests: &str) -> Result<()> {
        self.kubectl(&["apply", "-n", namespace, "-f", "-"], manifests)
            .await?;
        Ok(())
    }

    /// Installs CRDs, and waits until all their versions are served.
    pub async fn install_crds(&self, manifests: &str) -> Result<()> {
        // A large one does not fit into the annotation of a client-side apply.
        let apply = ["apply", "--server-side", "--force-conflicts"];
        let apply = [&apply[..], &["-o", "name", "-f", "-"]].concat();
        let applied = self.kubectl(&apply, manifests).await?;
        let client = self.client().await?;
        for line in applied.lines() {
            let name = line.rsplit('/').next().unwrap_or(line);
            let installed = crd::installed(&client, name);
            let in_time = timeout(PATIENCE, installed).await;
            in_time.with_context(|| format!("{name} is not served"))??;
        }
        Ok(())
    }

    /// A new namespace, whose name begins so.
    pub async fn namespace(&self, prefix: &str) -> Result<String> {
        let manifest =
            format!("{{apiVersion: v1, kind: Namespace, metadata: {{generateName: {prefix}-}}}}");
        let created = self.kubectl(&["create", "-o", "name", "-f", "-"], &manifest);
        let created = created.await?;
        let name = created.trim().strip_prefix("namespace/");
        Ok(name.context("a namespace")?.to_owned())
    }
}

/// The text of a CRD of another project, by the name of its file in the folder that
/// `TOOLGATE_TEST_CRDS` names.
pub fn foreign_crd(file: &str) -> Result<String> {
    let folder = std::env::var_os("TOOLGATE_TEST_CRDS");
    let folder = folder.context("TOOLGATE_TEST_CRDS names the folder that `make tools` fills")?;
    let path = Path::new(&folder).join(file);
    ensure!(
        path.is_file(),
        "{} is missing: run `make tools`",
        path.display()
    );
    Ok(std::fs::read_to_string(path)?)
}
