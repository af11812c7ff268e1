//! Connections on their way from the listener to a worker.

use std::{
    io::{self, ErrorKind},
    net,
    os::unix,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    time::sleep,
};
use tokio_util::either::Either;
use tonic::transport::server::Connected;

use crate::listen::Listener;

/// The pause after a failure that the next attempt would meet again, like too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection that belongs to no runtime.
pub(crate) type Loose = Either<net::TcpStream, unix::net::UnixStream>;

/// The next connection. Fails never: what keeps the limiter from accepting is logged, and passes.
pub(crate) async fn accept(listener: &Listener) -> Loose {
    let mut is_failing = false;
    loop {
        match accept_once(listener).await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_the_connection(&error) => {}
            Err(error) => {
                if !is_failing {
                    tracing::error!(%error, "cannot accept connections");
                    is_failing = true;
                }
                sleep(PAUSE).await;
            }
        }
    }
}

async fn accept_once(listener: &Listener) -> io::Result<Loose> {
    match listener {
        Listener::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            stream.into_std().map(Either::Left)
        }
        Listener::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            stream.into_std().map(Either::Right)
        }
    }
}

/// Whether only this one connection has failed, before it was accepted.
fn is_of_the_connection(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput};
    // Setting an option on a connection that is gone is an invalid argument on some systems.
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | InvalidInput
    )
}

/// A connection of a worker.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Either<TcpStream, UnixStream>,
    /// Held as long as the connection lives, so that the worker's can be counted.
    _occupied: Arc<()>,
}

impl Socket {
    /// Registers `stream` with the current runtime.
    pub(crate) fn open(stream: Loose, occupied: Arc<()>) -> io::Result<Self> {
        let stream = match stream {
            Either::Left(tcp) => Either::Left(TcpStream::from_std(tcp)?),
            Either::Right(unix) => Either::Right(UnixStream::from_std(unix)?),
        };
        Ok(Self {
            stream,
            _occupied: occupied,
        })
    }
}

impl Connected for Socket {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
