//! A connection that must say something soon.
//!
//! HTTP/2 begins with a preface, and hyper waits for it for as long as it takes, even while it is
//! told to shut down. So whoever connects and is silent, or sends a byte now and then, would be kept
//! for nothing.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// The magic and the shortest settings frame after it, in bytes (RFC 9113, section 3.4).
const PREFACE: usize = 24 + 9;

/// A connection that fails unless its preface is here in time.
#[derive(Debug)]
pub(crate) struct Preface<IO> {
    io: IO,
    awaited: Option<Awaited>,
}

#[derive(Debug)]
struct Awaited {
    missing: usize,
    until: Pin<Box<Sleep>>,
}

impl<IO> Preface<IO> {
    pub(crate) fn by(deadline: Instant, io: IO) -> Self {
        let awaited = Awaited {
            missing: PREFACE,
            until: Box::pin(sleep_until(deadline)),
        };
        Self {
            io,
            awaited: Some(awaited),
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Preface<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(awaited) = &mut this.awaited else {
            return Pin::new(&mut this.io).poll_read(cx, buffer);
        };
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buffer);
        let came = buffer.filled().len() - before;
        if came >= awaited.missing {
            this.awaited = None;
            return read;
        }
        awaited.missing -= came;
        if awaited.until.as_mut().poll(cx).is_ready() {
            let late = "no HTTP/2 preface in time";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, late)));
        }
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Preface<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        time::sleep,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn silence_and_a_byte_now_and_then_end_at_the_deadline() {
        for trickles in [false, true] {
            let began = Instant::now();
            let (mut far, near) = duplex(100);
            let mut near = Preface::by(began + PATIENCE, near);
            let trickle = async {
                loop {
                    sleep(Duration::from_secs(1)).await;
                    let bytes: &[u8] = if trickles { b"P" } else { b"" };
                    far.write_all(bytes).await.expect("open");
                }
            };
            let mut buffer = [0; 100];
            let read = tokio::select! {
                read = near.read_exact(&mut buffer) => read,
                never = trickle => never,
            };
            let error = read.expect_err("too late");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert_eq!(began.elapsed(), PATIENCE);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_preface_silence_is_free() {
        let (mut far, near) = duplex(100);
        let mut near = Preface::by(Instant::now() + PATIENCE, near);
        far.write_all(&[0; PREFACE]).await.expect("open");
        near.read_exact(&mut [0; PREFACE]).await.expect("here");
        sleep(10 * PATIENCE).await;
        let late = async {
            sleep(PATIENCE).await;
            far.write_all(&[7]).await.expect("open");
        };
        let (byte, ()) = tokio::join!(near.read_u8(), late);
        assert_eq!(byte.expect("read"), 7);
    }
}
