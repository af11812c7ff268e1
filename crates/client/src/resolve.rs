//! Names to addresses.

use std::{fmt, io, net::SocketAddr};

use async_trait::async_trait;

/// Finds the addresses of a `dns` endpoint.
#[async_trait]
pub trait Resolve: fmt::Debug + Send + Sync {
    /// The addresses of `name`, each with `port`. None, and errors, leave the replicas as they are.
    async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The system's resolver: `/etc/hosts` and DNS, as `getaddrinfo` finds them.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((name, port)).await?.collect())
    }
}
