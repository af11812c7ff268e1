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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        time::timeout,
    };

    use super::*;
    use crate::{Config, Listen, Settings};

    /// The magic, and settings that set nothing.
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

    /// The head of an answer to a ping.
    const PONG: &[u8] = &[0, 0, 8, 6, 1, 0, 0, 0, 0];

    async fn limiter() -> InProcess {
        let free = Some(Listen::Tcp(([127, 0, 0, 1], 0).into()));
        let folder = tempfile::tempdir().expect("a folder");
        let settings = Settings {
            policies: vec![folder.path().to_owned()],
            allow_empty: Some(true),
            grpc_listen: free.clone(),
            http_listen: free,
            metrics: Some(false),
            ..Settings::default()
        };
        let config = Config::try_from(settings).expect("settings");
        let limiter = Server::bind(&config).await.expect("a limiter");
        limiter.in_process().expect("descriptors")
    }

    /// Reads whatever comes, and answers pings if it `answers`.
    async fn client(mut wire: DuplexStream, answers: bool) {
        wire.write_all(PREFACE).await.expect("open");
        let mut head = [0; 9];
        while wire.read_exact(&mut head).await.is_ok() {
            let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            wire.read_exact(&mut payload).await.expect("a payload");
            if answers && head[3..5] == [6, 0] {
                let pong = [PONG, &payload].concat();
                wire.write_all(&pong).await.expect("open");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_answers_no_ping_is_closed_after_forty_seconds_and_who_does_stays() {
        for answers in [false, true] {
            let limiter = limiter().await;
            let (near, far) = duplex(64 * 1_024);
            let client = tokio::spawn(client(near, answers));
            let began = Instant::now();
            let ended = timeout(Duration::from_mins(3), limiter.serve(far)).await;
            assert_eq!(ended.is_err(), answers, "whether it stays");
            if !answers {
                let lasted = began.elapsed().as_secs();
                assert!((30..=45).contains(&lasted), "{lasted}");
            }
            client.abort();
        }
    }
}
