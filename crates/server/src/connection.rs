//! One connection, from its handshake to its end.
//!
//! ```text
//! accepted -> TLS handshake (tls/handshakes.rs) -> HTTP/2 preface -> calls     one deadline up to here
//!          -> told to leave: GOAWAY, and a notice on streams   old, or the limiter stops
//!          -> cut: streams take nothing more and end
//!          -> closed
//! ```
//!
//! tonic's own server would do without the deadline, wait for the preface even while it drains, and
//! end a connection that is too old either without a word or never.

use std::{
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::{
    ConnectionBounds,
    authority::Authorities,
    call::Calls,
    closed::Why,
    grpc::{CallerRules, Peer},
    observe::CheckErrors,
    preface::Preface,
    shares::{CallerKey, CallerShares, Seat},
    socket::{Loose, on_this_runtime},
    tls::Shaken,
};

/// The most bytes of headers that are read. A call may have less, and is told so
/// (`grpc/malformed.rs`); beyond this HTTP/2 answers alone, with status 431, and beyond four times of it,
/// or 144 KiB as they are sent, it ends the connection.
const MAX_READ_HEADER_BYTES: u32 = 96 * 1024;

/// The most bytes of answers of one stream that wait to be sent.
const MAX_UNSENT: usize = 32 * 1024;

/// The most calls that a caller takes back before they have begun (CVE-2023-44487), and the most that are
/// reset for what the caller did wrong on them. Beyond either HTTP/2 ends the connection.
const MAX_RESETS: (usize, usize) = (20, 1_024);

/// The most bytes of one stream that wait to be read.
const WINDOW_OF_STREAM: u32 = 32 * 1024;

/// The most bytes of a connection that wait to be read, with at most `max_streams` streams.
///
/// h2 ends a connection if the small DATA frames that wait cost more than half of this. A frame costs
/// what it lacks to 256 bytes. So there is room for one message of each stream, and for all the messages
/// of a stream that is read no further, down to 22 bytes each: an honest caller may send both.
const fn window_of_connection(max_streams: u32) -> u32 {
    const LEAST: u32 = 768 * 1024;
    const MOST: u32 = (1 << 31) - 1;
    match max_streams.saturating_mul(2 * 256) {
        ..LEAST => LEAST,
        MOST.. => MOST,
        of_streams => of_streams,
    }
}

/// A caller that has gone without a word is noticed after both.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// How long a connection without a call may take to agree to its end when the limiter stops.
const AGREEMENT: Duration = Duration::from_secs(1);

/// What all connections have in common.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) bounds: ConnectionBounds,
    pub(crate) callers: Arc<CallerRules>,
    pub(crate) shares: Arc<CallerShares>,
    /// The limiter stops.
    pub(crate) closing: CancellationToken,
    /// How long callers have from then on to take their checks elsewhere.
    pub(crate) handover: Duration,
}

/// A connection on its way to a worker.
pub(crate) enum Accepted {
    /// In plaintext.
    Plain(Loose),
    /// It has shaken hands. By then its preface must be here.
    Shaken(Shaken, Instant),
}

/// What serves the connections of one worker.
#[derive(Debug)]
pub(crate) struct Connections {
    pub(crate) routes: Routes,
    pub(crate) terms: Terms,
    pub(crate) errors: CheckErrors,
}

/// The bytes of a connection.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

type Http2<S> = http2::Connection<TokioIo<Authorities<Preface<S>>>, Calls, TokioExecutor>;

impl Connections {
    /// Serves `accepted` to its end, on the current runtime. `seat` is that of its address.
    pub(crate) async fn serve(&self, accepted: Accepted, mut seat: Seat) {
        match accepted {
            Accepted::Plain(stream) => {
                let deadline = Instant::now() + self.terms.bounds.handshake_timeout;
                match on_this_runtime(stream) {
                    Ok(stream) => self.converse(stream, seat, None, deadline).await,
                    Err(error) => tracing::debug!(%error, "a connection was lost"),
                }
            }
            Accepted::Shaken(mut stream, deadline) => {
                let (io, session) = stream.get_mut();
                if let Err(error) = io.arrive() {
                    return tracing::debug!(%error, "a connection was lost");
                }
                let certificates = session.peer_certificates();
                let certificate = certificates.and_then(<[_]>::first).cloned();
                if let Some(certificate) = &certificate {
                    let known = seat.known_as(CallerKey::of_certificate(certificate));
                    let Some(known) = known else { return };
                    seat = known;
                }
                let certificate = certificate.as_ref();
                self.converse(stream, seat, certificate, deadline).await;
            }
        }
    }

    /// Takes calls until the other side ends the connection, or it is too old, or the limiter stops.
    pub(crate) async fn converse(
        &self,
        stream: impl Io,
        seat: Seat,
        certificate: Option<&CertificateDer<'_>>,
        deadline: Instant,
    ) {
        let caller = self.terms.callers.caller(certificate);
        let peer = Peer::new(caller, self.terms.bounds.max_checks, seat.allowance());
        let calls = Calls {
            routes: self.routes.clone(),
            peer: Arc::clone(&peer),
            errors: self.errors.clone(),
            message_timeout: self.terms.bounds.message_timeout,
        };
        let flooded = Arc::new(AtomicBool::new(false));
        let stream = Authorities::of(Preface::by(deadline, stream), Arc::clone(&flooded));
        let stream = TokioIo::new(stream);
        let connection = pin!(self.http2().serve_connection(stream, calls));
        let unread_timeout = self.terms.bounds.unread_timeout;
        tokio::select! {
            () = self.lead(connection, &peer) => {}
            () = peer.share.stalled(unread_timeout) => {
                self.terms.shares.closed().count(Why::Unread);
            }
        }
        if flooded.load(Ordering::Relaxed) {
            self.terms.shares.closed().count(Why::Flood);
        }
    }

    /// Leads a connection to its end.
    async fn lead(&self, mut connection: Pin<&mut Http2<impl Io>>, peer: &Peer) {
        tokio::select! {
            ended = &mut connection => return log_end(ended),
            () = self.time_to_leave() => {}
        }
        connection.as_mut().graceful_shutdown();
        peer.leave();
        tokio::select! {
            ended = &mut connection => return log_end(ended),
            () = self.time_to_cut() => {}
            // It may have none because it never got as far as its preface.
            () = self.closed_without_calls(peer) => return,
        }
        peer.cut();
        tokio::select! {
            ended = &mut connection => log_end(ended),
            () = self.time_to_close() => {}
            () = self.closed_without_calls(peer) => {}
        }
    }

    fn http2(&self) -> http2::Builder<TokioExecutor> {
        let max_streams = self.terms.bounds.max_streams;
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEPALIVE.0)
            .keep_alive_timeout(KEEPALIVE.1)
            .max_concurrent_streams(max_streams)
            .max_send_buf_size(MAX_UNSENT)
            .max_pending_accept_reset_streams(MAX_RESETS.0)
            .max_local_error_reset_streams(MAX_RESETS.1)
            .max_header_list_size(MAX_READ_HEADER_BYTES)
            .initial_stream_window_size(WINDOW_OF_STREAM)
            .initial_connection_window_size(window_of_connection(max_streams));
        http2
    }

    /// Not the same for all: gateways that came together would come again together.
    async fn time_to_leave(&self) {
        let old = async {
            match self.terms.bounds.max_age {
                Some(age) => sleep(age.mul_f64(0.9 + 0.2 * fastrand::f64())).await,
                None => std::future::pending().await,
            }
        };
        self.terms.closing.run_until_cancelled(old).await;
    }

    async fn time_to_cut(&self) {
        let stopped = async {
            self.terms.closing.cancelled().await;
            sleep(self.terms.handover).await;
        };
        tokio::select! {
            () = sleep(self.terms.bounds.max_age_grace / 2) => {}
            () = stopped => {}
        }
    }

    /// While the limiter stops, it is the drain that has a deadline.
    async fn time_to_close(&self) {
        let grace = sleep(self.terms.bounds.max_age_grace / 2);
        if self
            .terms
            .closing
            .run_until_cancelled(grace)
            .await
            .is_none()
        {
            std::future::pending::<()>().await;
        }
    }

    async fn closed_without_calls(&self, peer: &Peer) {
        self.terms.closing.cancelled().await;
        loop {
            sleep(AGREEMENT).await;
            if !peer.has_calls() {
                return;
            }
        }
    }
}

fn log_end(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection has failed");
    }
}
