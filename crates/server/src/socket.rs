//! Connections on their way from the listener to a worker.

use std::{
    io, net,
    os::unix,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_util::either::Either;
pub(crate) use toolgate_net::Stream;

/// A connection that belongs to no runtime.
pub(crate) type Loose = Either<net::TcpStream, unix::net::UnixStream>;

/// Takes a connection from the current runtime.
pub(crate) fn off_this_runtime(stream: Stream) -> io::Result<Loose> {
    Ok(match stream {
        Either::Left(tcp) => Either::Left(tcp.into_std()?),
        Either::Right(unix) => Either::Right(unix.into_std()?),
    })
}

/// Registers a connection with the current runtime.
pub(crate) fn on_this_runtime(stream: Loose) -> io::Result<Stream> {
    Ok(match stream {
        Either::Left(tcp) => Either::Left(TcpStream::from_std(tcp)?),
        Either::Right(unix) => Either::Right(UnixStream::from_std(unix)?),
    })
}

/// A connection that goes from one runtime to another, whatever is built on it. While it is on its
/// way it can be neither read nor written.
#[derive(Debug)]
pub(crate) enum Movable {
    Here(Stream),
    OnItsWay(Loose),
    Lost,
}

impl Movable {
    /// Takes it from the current runtime.
    pub(crate) fn leave(&mut self) -> io::Result<()> {
        if let Self::Here(stream) = std::mem::replace(self, Self::Lost) {
            *self = Self::OnItsWay(off_this_runtime(stream)?);
        }
        Ok(())
    }

    /// Registers it with the current runtime.
    pub(crate) fn arrive(&mut self) -> io::Result<()> {
        if let Self::OnItsWay(stream) = std::mem::replace(self, Self::Lost) {
            *self = Self::Here(on_this_runtime(stream)?);
        }
        Ok(())
    }

    fn here(self: Pin<&mut Self>) -> io::Result<Pin<&mut Stream>> {
        match self.get_mut() {
            Self::Here(stream) => Ok(Pin::new(stream)),
            Self::OnItsWay(_) | Self::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl AsyncRead for Movable {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.here()?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Movable {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.here()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.here()?.poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        // TCP and Unix sockets both are.
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.here()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.here()?.poll_shutdown(cx)
    }
}
