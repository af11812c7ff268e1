//! Calls whose `:authority` is no authority.
//!
//! It names the server, and gRPC libraries write there what they were given as a target: grpcio on a
//! Unix socket `%2Frun%2Ftoolgate.sock`, grpc-java `/run/toolgate.sock`, with two addresses
//! `10.0.0.1:7070%2C10.0.0.2:7070`. Other servers take that. h2 parses it as part of a URI, resets each
//! such call (`PROTOCOL_ERROR`), and ends the connection after a thousand. It has no setting for it, and
//! nobody here asks what a server was called.
//!
//! So the bytes of each HEADERS frame are looked at before h2 reads them, and what is no authority is
//! made one, character by character. No length changes: neither that of the frame, nor that of the
//! text, so that the table of HPACK, which counts lengths, is the same at both ends (docs/adr/020).
//!
//! Frames are known here, so this is also where they are counted (`authority/frames.rs`).

mod block;
mod frames;
mod huffman;

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use frames::Supply;

/// What a client says first, in bytes, before its frames (RFC 9113, section 3.4).
const MAGIC: usize = 24;

/// The bytes of a frame before its payload (RFC 9113, section 4.1).
const HEAD: usize = 9;

/// The kind of a frame that begins a call.
const HEADERS: u8 = 1;

/// The longest payload that h2 takes.
const MAX_PAYLOAD: usize = 16 * 1024;

/// A connection whose reader sees authorities only.
#[derive(Debug)]
pub(crate) struct Authorities<IO> {
    io: IO,
    at: Place,
    supply: Supply,
    flooded: Arc<AtomicBool>,
    /// What was read and not yet given on. It begins in a HEADERS frame that is not whole.
    held: Vec<u8>,
    /// The bytes of `held` that may go on.
    cleared: usize,
}

/// Where in the stream of frames a connection is.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// So many bytes until the next frame, whatever they are.
    Within(usize),
    /// In the head of a frame, of which so many bytes are known.
    Head([u8; HEAD], usize),
    /// At the payload of a HEADERS frame with this length and these flags.
    Headers(usize, u8),
}

impl<IO> Authorities<IO> {
    /// It fails, and sets `flooded`, if too many frames carry nothing.
    pub(crate) fn of(io: IO, flooded: Arc<AtomicBool>) -> Self {
        Self {
            io,
            at: Place::Within(MAGIC),
            supply: Supply::full(),
            flooded,
            held: Vec::new(),
            cleared: 0,
        }
    }

    /// Gives on what may go on of what is held. Whether there was any.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let count = self.cleared.min(buffer.remaining());
        buffer.put_slice(&self.held[..count]);
        self.held.drain(..count);
        self.cleared -= count;
        if self.held.is_empty() {
            // Nothing is kept for a connection that sends whole frames.
            self.held = Vec::new();
        }
        count > 0
    }
}

impl Place {
    /// Goes through `bytes`, which begin here, and corrects what is no authority. How many of them may
    /// go on; the others are a HEADERS frame that is not whole. Each frame is taken from `supply`.
    fn pass(&mut self, bytes: &mut [u8], supply: &mut Supply) -> io::Result<usize> {
        let mut passed = 0;
        loop {
            let left = bytes.len() - passed;
            match self {
                Self::Within(0) => *self = Self::Head([0; HEAD], 0),
                _ if left == 0 => return Ok(passed),
                Self::Within(length) => {
                    let step = left.min(*length);
                    *length -= step;
                    passed += step;
                }
                Self::Head(head, known) => {
                    let step = left.min(HEAD - *known);
                    head[*known..][..step].copy_from_slice(&bytes[passed..][..step]);
                    *known += step;
                    passed += step;
                    if *known == HEAD {
                        let [a, b, c, kind, flags, ..] = *head;
                        let length = u32::from_be_bytes([0, a, b, c]) as usize;
                        supply.frame(kind, flags, length)?;
                        *self = if kind == HEADERS && length <= MAX_PAYLOAD {
                            Self::Headers(length, flags)
                        } else {
                            Self::Within(length)
                        };
                    }
                }
                Self::Headers(length, _) if left < *length => return Ok(passed),
                Self::Headers(length, flags) => {
                    block::correct(*flags, &mut bytes[passed..][..*length]);
                    passed += *length;
                    *self = Self::Within(0);
                }
            }
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Authorities<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.give(buffer) || buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.io).poll_read(cx, buffer))?;
            let came = &mut buffer.filled_mut()[before..];
            if came.is_empty() {
                if this.held.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                // The end, in the middle of a frame.
                this.cleared = this.held.len();
            } else if this.held.is_empty() {
                let passed = this.at.pass(came, &mut this.supply);
                let passed = passed.inspect_err(|_| this.flooded.store(true, Ordering::Relaxed))?;
                this.held.extend_from_slice(&came[passed..]);
                buffer.set_filled(before + passed);
                if passed > 0 {
                    return Poll::Ready(Ok(()));
                }
            } else {
                this.held.extend_from_slice(came);
                buffer.set_filled(before);
                let passed = this.at.pass(&mut this.held, &mut this.supply);
                let passed = passed.inspect_err(|_| this.flooded.store(true, Ordering::Relaxed))?;
                this.cleared = passed;
            }
        }
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Authorities<IO> {
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
mod tests;
