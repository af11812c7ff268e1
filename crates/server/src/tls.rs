//! TLS of the gRPC API: certificates from files, and again when they change.
//!
//! A new certificate is for new connections; those that are there go on. Files that are wrong change
//! nothing.

mod handshakes;
mod hello;
mod load;
mod reload;

use std::{io, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{ServerConfig, server::Acceptor};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{Accept, LazyConfigAcceptor, StartHandshake};

pub(crate) use handshakes::{Handshakes, Shaken};
use hello::Hello;
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

    /// Answers what a caller has said. All that a handshake costs is done here: it is signed.
    fn answer<IO: AsyncRead + AsyncWrite + Unpin>(&self, hello: StartHandshake<IO>) -> Accept<IO> {
        hello.into_stream(self.current.load_full())
    }
}

/// Waits for all of the first message of a handshake.
async fn hello<IO: AsyncRead + AsyncWrite + Unpin>(stream: IO) -> io::Result<StartHandshake<IO>> {
    let hello = LazyConfigAcceptor::new(Acceptor::default(), Hello::of(stream)).await?;
    let stream = hello.io.into_inner();
    Ok(StartHandshake::from_parts(hello.accepted, stream))
}

/// No part of it is for any eyes.
impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls(..)")
    }
}
