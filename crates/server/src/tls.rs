//! TLS of the gRPC API: certificates from files, and again when they change.
//!
//! A new certificate is for new connections; those that are there go on. Files that are wrong change
//! nothing.

mod handshakes;
mod load;
mod reload;

use std::{io, sync::Arc};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

pub(crate) use handshakes::{Handshakes, Shaken};
pub use load::TlsError;
pub(crate) use reload::Reload;

/// The certificates in use.
pub(crate) struct Tls {
    current: ArcSwap<ServerConfig>,
}

impl Tls {
    fn new(config: ServerConfig) -> Arc<Self> {
        Arc::new(Self {
            current: ArcSwap::from_pointee(config),
        })
    }

    /// Shakes hands with a caller.
    pub(crate) async fn accept<IO: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: IO,
    ) -> io::Result<TlsStream<IO>> {
        TlsAcceptor::from(self.current.load_full())
            .accept(stream)
            .await
    }
}

/// No part of it is for any eyes.
impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls(..)")
    }
}
