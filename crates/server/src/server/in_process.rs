//! A limiter without sockets.

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tonic_health::pb::health_check_response::ServingStatus;

use super::{Server, ServerError, Wiring};
use crate::{connection::Connections, shares::CallerKey};

/// A limiter that is given its connections, and serves them on the current runtime, by the policies
/// that it has read at its start: for tests of the bytes on the wire, with a clock of their own.
#[derive(Debug)]
pub struct InProcess {
    connections: Connections,
    wiring: Wiring,
}

impl Server {
    /// This limiter without its sockets, plaintext.
    pub fn in_process(self) -> Result<InProcess, ServerError> {
        let wiring = self.wiring(CancellationToken::new())?;
        wiring.health.set("", ServingStatus::Serving);
        Ok(InProcess {
            connections: wiring.connections(),
            wiring,
        })
    }
}

impl InProcess {
    /// Serves a connection to its end.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let patience = self.wiring.terms.bounds.handshake_timeout;
        let deadline = Instant::now() + patience;
        let Some(seat) = self.wiring.terms.shares.seat(CallerKey::Unix) else {
            return;
        };
        self.connections
            .converse(stream, seat, None, deadline)
            .await;
    }

    /// Calls and checks that are in flight now.
    pub fn in_flight(&self) -> (usize, usize) {
        let all = self.wiring.terms.shares.all();
        (all.calls.taken(), all.checks.taken())
    }
}
