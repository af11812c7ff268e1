//! A connection that may say so much before it is answered.
//!
//! rustls keeps what it has read of a `ClientHello` until all of it is there, and takes up to 64 KiB. Many
//! may be at it at the same time, so it has less here.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest `ClientHello`, in bytes. Those with keys that withstand quantum computers take some two
/// thousand.
pub(super) const MAX_HELLO: usize = 16 * 1024;

/// A connection from which so many bytes may be read.
#[derive(Debug)]
pub(super) struct Hello<IO> {
    io: IO,
    left: usize,
}

impl<IO> Hello<IO> {
    pub(super) const fn of(io: IO) -> Self {
        let left = MAX_HELLO;
        Self { io, left }
    }

    /// The connection, once it has said hello.
    pub(super) fn into_inner(self) -> IO {
        self.io
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Hello<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.left == 0 {
            let long = "a ClientHello is too long";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, long)));
        }
        let room = buffer.initialize_unfilled_to(this.left.min(buffer.remaining()));
        let mut part = ReadBuf::new(room);
        let read = Pin::new(&mut this.io).poll_read(cx, &mut part);
        let came = part.filled().len();
        buffer.advance(came);
        this.left -= came;
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Hello<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
