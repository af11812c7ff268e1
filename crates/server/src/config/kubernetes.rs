//! Policies from a cluster.

use clap::Args;
use serde::Deserialize;
use toolgate_kube::{Config, Namespaces};

use super::ConfigError;

/// The longest name of a replica, which follows that of the Lease in the name of its own Lease; a
/// pod's name is no longer in practice, and together they stay within Kubernetes' 253.
const MAX_NAME: usize = 126;

/// The longest name that is also the value of a label.
const MAX_LABEL: usize = 63;

/// Policies from a cluster, as one source gives it: `kubernetes` in the file, and flags and variables
/// that begin with `--kubernetes-` and `TOOLGATE_KUBERNETES_`.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KubernetesSettings {
    /// Take policies from the `RateLimitPolicy`, `VirtualMCPServer` and `MCPServer` objects in these
    /// namespaces of a Kubernetes cluster, or in all: `*`
    #[arg(
        id = "kubernetes_namespaces",
        long = "kubernetes-namespaces",
        value_name = "NAMESPACE",
        env = "TOOLGATE_KUBERNETES_NAMESPACES",
        value_delimiter = ','
    )]
    pub namespaces: Vec<String>,

    /// Take part in the election of the replica that writes the status of `RateLimitPolicy` objects,
    /// and Events [default: true]
    #[arg(
        id = "kubernetes_status",
        long = "kubernetes-status",
        value_name = "BOOL",
        env = "TOOLGATE_KUBERNETES_STATUS",
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub status: Option<bool>,

    /// The namespace of the Leases by which replicas know of each other [default: the pod's own]
    #[arg(
        id = "kubernetes_lease_namespace",
        long = "kubernetes-lease-namespace",
        value_name = "NAMESPACE",
        env = "TOOLGATE_KUBERNETES_LEASE_NAMESPACE"
    )]
    pub lease_namespace: Option<String>,

    /// The name of the Lease of the election; the same for the replicas that share policies
    /// [default: toolgate]
    #[arg(
        id = "kubernetes_lease_name",
        long = "kubernetes-lease-name",
        value_name = "NAME",
        env = "TOOLGATE_KUBERNETES_LEASE_NAME"
    )]
    pub lease_name: Option<String>,

    /// The name of this replica, unlike all others [default: the host name, which is the pod's]
    #[arg(
        id = "kubernetes_replica",
        long = "kubernetes-replica",
        value_name = "NAME",
        env = "TOOLGATE_KUBERNETES_REPLICA"
    )]
    pub replica: Option<String>,

    /// The uid of the pod that this replica runs in, whose name `replica` must be; Kubernetes then
    /// deletes the replica's Lease together with the pod
    #[arg(
        id = "kubernetes_pod_uid",
        long = "kubernetes-pod-uid",
        value_name = "UID",
        env = "TOOLGATE_KUBERNETES_POD_UID"
    )]
    pub pod_uid: Option<String>,
}

impl KubernetesSettings {
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            namespaces: if self.namespaces.is_empty() {
                below.namespaces
            } else {
                self.namespaces
            },
            status: self.status.or(below.status),
            lease_namespace: self.lease_namespace.or(below.lease_namespace),
            lease_name: self.lease_name.or(below.lease_name),
            replica: self.replica.or(below.replica),
            pod_uid: self.pod_uid.or(below.pod_uid),
        }
    }

    /// None unless namespaces are given.
    pub(super) fn into_config(self) -> Result<Option<Config>, ConfigError> {
        // A variable that is set to nothing gives nothing.
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let namespaces = self.namespaces.iter().map(|name| name.trim());
        let namespaces: Vec<_> = namespaces.filter(|name| !name.is_empty()).collect();
        let lease_namespace = given(self.lease_namespace);
        let lease_name = given(self.lease_name);
        let replica = given(self.replica);
        let pod_uid = given(self.pod_uid);
        if namespaces.is_empty() {
            let is_silent = self.status.is_none()
                && lease_namespace.is_none()
                && lease_name.is_none()
                && replica.is_none()
                && pod_uid.is_none();
            return if is_silent {
                Ok(None)
            } else {
                Err(ConfigError::Together(
                    "kubernetes.status, kubernetes.leaseNamespace, kubernetes.leaseName, \
                     kubernetes.replica and kubernetes.podUid need kubernetes.namespaces",
                ))
            };
        }
        let namespaces = Namespaces::of(namespaces)?;
        let status = self.status.unwrap_or(true);
        let lease_name = lease_name.unwrap_or_else(|| "toolgate".to_owned());
        // The host's name is the pod's only where the pod has no `hostname` and no network of its node.
        if pod_uid.is_some() && replica.is_none() {
            return Err(ConfigError::Together(
                "kubernetes.podUid needs kubernetes.replica, the name of that pod",
            ));
        }
        let replica = replica.unwrap_or_else(host_name);
        // Leases are written with the status alone.
        if status {
            if let Some(namespace) = &lease_namespace {
                check_name("kubernetes.leaseNamespace", namespace, MAX_LABEL)?;
            }
            check_name("kubernetes.leaseName", &lease_name, MAX_LABEL)?;
            check_name("kubernetes.replica", &replica, MAX_NAME)?;
        }
        Ok(Some(Config {
            namespaces,
            status,
            lease_namespace,
            lease_name,
            replica,
            pod_uid,
        }))
    }
}

/// Whether an object of Kubernetes can have the name (RFC 1123, section 2.1: a subdomain).
fn check_name(field: &'static str, name: &str, max: usize) -> Result<(), ConfigError> {
    let of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    let is_end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_valid = (1..=max).contains(&name.len())
        && name.chars().all(of_name)
        && name.starts_with(is_end)
        && name.ends_with(is_end);
    if is_valid {
        Ok(())
    } else {
        Err(ConfigError::LeaseName {
            field,
            name: name.to_owned(),
            max,
        })
    }
}

/// The host's name in small letters, as an object's name wants them.
fn host_name() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    name.to_string_lossy().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{file, flags},
        *,
    };
    use crate::{Config, PolicySource};

    fn cluster(arguments: &[&str]) -> Result<PolicySource, String> {
        match Config::try_from(flags(arguments)) {
            Ok(config) => Ok(config.policies),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn policies_come_from_a_cluster_if_namespaces_are_given() {
        let source = cluster(&["--kubernetes-namespaces=b, a,", "--kubernetes-replica=r-1"]);
        let Ok(PolicySource::Kubernetes(config)) = source else {
            panic!("{source:?}");
        };
        assert_eq!(config.namespaces.to_string(), "namespaces a, b");
        assert_eq!((&*config.lease_name, &*config.replica), ("toolgate", "r-1"));
        assert!(config.status);

        let text = "kubernetes: {namespaces: [\"*\"], status: false, leaseName: main, replica: r}";
        let config = Config::try_from(file(text).expect("read")).expect("valid");
        let PolicySource::Kubernetes(config) = config.policies else {
            panic!("{:?}", config.policies);
        };
        assert_eq!(config.namespaces, Namespaces::All);
        assert!(!config.status);
        assert_eq!(config.lease_name, "main");
    }

    #[test]
    fn settings_that_say_no_cluster_or_two_sources_are_refused_by_name() {
        for (arguments, part) in [
            (
                &["--kubernetes-replica=r"][..],
                "need kubernetes.namespaces",
            ),
            (
                &["--policies=x", "--kubernetes-namespaces=a"],
                "choose one of them",
            ),
            (
                &["--kubernetes-namespaces=*,a", "--kubernetes-replica=r"],
                "kubernetes.namespaces",
            ),
            (
                &["--kubernetes-namespaces=a", "--kubernetes-replica=R_1"],
                "kubernetes.replica \"R_1\"",
            ),
            (
                &["--kubernetes-namespaces=a", "--kubernetes-pod-uid=5f0c"],
                "kubernetes.podUid needs kubernetes.replica",
            ),
            (&["--kubernetes-namespaces="], "--kubernetes-namespaces"),
            (&[], "--kubernetes-namespaces"),
        ] {
            let error = cluster(arguments).expect_err(part);
            assert!(error.contains(part), "{error}");
        }
    }
}
