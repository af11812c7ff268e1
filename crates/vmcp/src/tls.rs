//! The TLS of connections that this server opens.

/// Makes ring the provider of cryptography, unless the process has chosen one before.
pub(crate) fn use_ring() {
    // An error means that there is a choice already, which stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
