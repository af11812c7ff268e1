//! Who may reach a control plane, and how.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Result;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;

use crate::Authority;

/// The certificates and keys of a control plane.
#[derive(Debug)]
pub(super) struct Access {
    authority: Authority,
}

/// As whom somebody comes.
pub(super) enum Identity<'i> {
    /// With a certificate of this name.
    Certificate(&'i str),
    /// With a token of a service account, which is at home in this namespace.
    Token { token: &'i str, namespace: &'i str },
}

impl Access {
    /// New ones, in a folder of their own.
    pub(super) fn new() -> Self {
        let authority = Authority::new();
        let server = authority.credentials(&["127.0.0.1", "localhost"]);
        authority.write_credentials("server", &server);
        let admin = authority.credentials_of("admin", "system:masters");
        authority.write_credentials("admin", &admin);
        // Of the certificate only the public key counts.
        let tokens = authority.credentials(&[]);
        authority.write_credentials("tokens", &tokens);
        Self { authority }
    }

    /// The file `name` in its folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.authority.path(name)
    }

    /// The kubeconfig that was written under `name`.
    pub(super) fn kubeconfig(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.kubeconfig"))
    }

    /// Writes a kubeconfig that leads to `address`.
    pub(super) fn write_kubeconfig(
        &self,
        name: &str,
        address: SocketAddr,
        who: &Identity<'_>,
    ) -> PathBuf {
        let (user, namespace) = match who {
            Identity::Certificate(name) => (
                json!({
                    "client-certificate": self.path(&format!("{name}.crt")),
                    "client-key": self.path(&format!("{name}.key")),
                }),
                "default",
            ),
            Identity::Token { token, namespace } => (json!({ "token": token }), *namespace),
        };
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "test",
                "cluster": {
                    "server": format!("https://{address}"),
                    "certificate-authority": self.path("ca.crt"),
                },
            }],
            "users": [{"name": "test", "user": user}],
            "contexts": [{
                "name": "test",
                "context": {"cluster": "test", "user": "test", "namespace": namespace},
            }],
            "current-context": "test",
        });
        let file = format!("{name}.kubeconfig");
        self.authority.write(&file, &config.to_string())
    }
}

/// A client for the runtime that this is called on.
pub(super) async fn client(kubeconfig: &Path) -> Result<kube::Client> {
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &options);
    Ok(kube::Client::try_from(config.await?)?)
}
