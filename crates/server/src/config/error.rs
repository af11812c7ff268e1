//! Why settings make no configuration.

use std::{io, path::PathBuf};

use toolgate_kube::NamespacesError;

use super::store::SCHEMES;

/// Why settings make no [`Config`](crate::Config).
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file does not hold settings.
    #[error("{}: {field}: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The key that is wrong; `.` for the file as a whole.
        field: String,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// Without policies nothing would be limited.
    #[error(
        "no policies: give --policies PATH, TOOLGATE_POLICIES or `policies:` in the file; or, to take \
         them from a cluster, --kubernetes-namespaces"
    )]
    NoPolicies,
    /// Policies come from files or from a cluster.
    #[error("policies and kubernetes.namespaces do not go together: choose one of them")]
    TwoSources,
    /// The namespaces are none.
    #[error("kubernetes.namespaces")]
    Namespaces(#[from] NamespacesError),
    /// A Lease cannot have this name.
    #[error(
        "{field} {name:?} is no name of an object in Kubernetes: 1 to {max} characters of \
         a-z 0-9 - ., a letter or digit at either end"
    )]
    LeaseName {
        /// Which setting.
        field: &'static str,
        /// What it is.
        name: String,
        /// How many characters it may have.
        max: usize,
    },
    /// The store is none. What was given is not repeated, as it may hold a password.
    #[error("store must be `memory` or a URL that begins with one of: {}", SCHEMES.join(" "))]
    InvalidStore,
    /// A setting makes sense only together with another.
    #[error("{0}")]
    Together(&'static str),
    /// A duration that must not be zero.
    #[error("{0} must be longer than 0s")]
    ZeroDuration(&'static str),
    /// A memory store that keeps nobody would refuse everybody.
    #[error("memoryMaxUsers must be at least 1")]
    NoUsers,
    /// A share of denials.
    #[error("audit.sampleRatio must be above 0 and at most 1, not {0}")]
    SampleRatio(f64),
    /// A bound of zero would shut everybody out.
    #[error("{0} must be at least 1")]
    ZeroCount(&'static str),
    /// TLS needs a certificate and its key.
    #[error("{0} is missing: TLS needs grpcTls.certificate and grpcTls.key")]
    HalfOfTls(&'static str),
    /// Whoever may open a Unix socket is known by its permissions.
    #[error("grpcTls does not go with a Unix socket in grpcListen")]
    TlsOnUnixSocket,
    /// Callers are known by their certificates alone.
    #[error("callers need grpcTls.clientCa: they are known by their certificates")]
    CallersWithoutCa,
    /// A rule without effect is a mistake.
    #[error("callers: the rule of {0} grants nothing; give it servers or `admin: true`")]
    NothingGranted(String),
    /// One setting would undo the other.
    #[error("insecureAdmin does not go with callers: list administrators with `admin: true`")]
    AdminTwice,
}
