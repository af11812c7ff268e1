//! TLS of a redis-server, by an authority of the test's own.

use toolgate_redis::TlsIdentity;
use toolgate_tests::Authority;

/// Credentials for this machine, in files.
pub(crate) fn identity(authority: &Authority, name: &str) -> TlsIdentity {
    let credentials = authority.credentials(&["127.0.0.1", "localhost"]);
    let (certificate, key) = authority.write_credentials(name, &credentials);
    TlsIdentity { certificate, key }
}

/// What makes a redis-server speak TLS and ask for certificates of `authority`.
pub(crate) fn arguments(authority: &Authority) -> Vec<String> {
    let TlsIdentity { certificate, key } = identity(authority, "server");
    let certificate = certificate.display().to_string();
    let (key, ca) = (
        key.display().to_string(),
        authority.ca().display().to_string(),
    );
    [
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "yes",
    ]
    .map(str::to_owned)
    .into()
}
