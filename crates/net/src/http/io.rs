//! A connection whose other side must read, and is heard when it hangs up.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::stage::Stage;
use crate::Stream;

/// How long the other side may read nothing of what there is to send.
pub(super) const READ_WITHIN: Duration = Duration::from_secs(30);

/// The most that is read of what comes after a request that is being answered. More ends the
/// connection.
pub(super) const MOST_AHEAD: usize = 64 * 1024;

/// Notes when all is sent and when it stalls, and fails if that lasts.
#[derive(Debug)]
pub(super) struct Noted {
    stream: Stream,
    stage: Stage,
    /// What was read while hyper did not read.
    ahead: VecDeque<u8>,
    /// While the other side takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Noted {
    pub(super) const fn new(stream: Stream, stage: Stage) -> Self {
        Self {
            stream,
            stage,
            ahead: VecDeque::new(),
            stalled: None,
        }
    }

    /// Reads on while a request is being answered, and fails when its caller has hung up. hyper finds
    /// that out only if nothing has come after the request.
    fn read_ahead(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.stage.is_busy() {
            if self.ahead.len() >= MOST_AHEAD {
                let more = "more has come than may, while a request is being answered";
                return Err(io::Error::new(io::ErrorKind::InvalidData, more));
            }
            let mut part = [0; 4 * 1024];
            let mut buffer = ReadBuf::new(&mut part);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => break,
                Poll::Ready(read) => read?,
            }
            if buffer.filled().is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.ahead.extend(buffer.filled());
        }
        Ok(())
    }

    fn note(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
        wanted: usize,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(written) => {
                self.stalled = None;
                if matches!(written, Ok(written) if written >= wanted) {
                    self.stage.sent();
                }
                Poll::Ready(written)
            }
            Poll::Pending => {
                self.stage.stalled();
                let until = || Box::pin(sleep_until(Instant::now() + READ_WITHIN));
                let stalled = self.stalled.get_or_insert_with(until);
                stalled.as_mut().poll(cx).map(|()| {
                    let unread = "the other side does not read";
                    Err(io::Error::new(io::ErrorKind::TimedOut, unread))
                })
            }
        }
    }
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let (first, _) = self.ahead.as_slices();
            let most = first.len().min(buffer.remaining());
            buffer.put_slice(&first[..most]);
            self.ahead.drain(..most);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Noted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(cx, written, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.note(cx, written, parts.iter().map(|part| part.len()).sum())
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whenever a connection goes on, hyper flushes it.
        self.read_ahead(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
