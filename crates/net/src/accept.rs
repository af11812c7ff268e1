//! Connections, as they come.

use std::{
    io::{self, ErrorKind},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    time::{Instant, sleep_until},
};
use tokio_util::either::Either;

use crate::descriptors;

/// The pause after a failure that the next attempt would meet again, like too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// A failure is told again once there was none for so long.
const WELL: Duration = Duration::from_mins(1);

/// A bound address.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

/// A connection of the current runtime.
pub type Stream = Either<TcpStream, UnixStream>;

/// Takes the connections of a listener. What keeps it from that is logged, and passes.
#[derive(Debug)]
pub struct Acceptor {
    listener: Listener,
    /// When it last failed.
    failed: Option<Instant>,
    paused_until: Option<Instant>,
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

impl Listener {
    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Either::Left(stream))
            }
            Self::Unix(listener) => Ok(Either::Right(listener.accept().await?.0)),
        }
    }
}

impl Acceptor {
    /// Of `listener`.
    pub fn new(listener: impl Into<Listener>) -> Self {
        Self {
            listener: listener.into(),
            failed: None,
            paused_until: None,
        }
    }

    /// The next connection. No connection is lost if it is dropped before it is done.
    pub async fn accept(&mut self) -> Stream {
        loop {
            if let Some(paused_until) = self.paused_until {
                sleep_until(paused_until).await;
                self.paused_until = None;
            }
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => self.failed(&error, Instant::now()),
            }
        }
    }

    fn failed(&mut self, error: &io::Error, now: Instant) {
        if self.is_news(now) {
            let open_files = descriptors::limit();
            tracing::error!(%error, open_files, "cannot accept connections; it is tried again");
        }
        self.paused_until = Some(now + PAUSE);
    }

    /// Whether nothing had failed for a while.
    fn is_news(&mut self, now: Instant) -> bool {
        let before = self.failed.replace(now);
        before.is_none_or(|before| now.saturating_duration_since(before) >= WELL)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Too many open files were told ten times a second, as every connection that went in between
    /// made the next failure news.
    #[tokio::test(start_paused = true)]
    async fn a_failure_that_comes_and_goes_is_told_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut acceptor = Acceptor::new(listener);
        assert!(acceptor.is_news(Instant::now()));
        for _ in 0..1_000 {
            tokio::time::advance(WELL / 2).await;
            let _connection = TcpStream::connect(address).await.unwrap();
            acceptor.accept().await;
            assert!(!acceptor.is_news(Instant::now()));
        }
        tokio::time::advance(WELL).await;
        assert!(acceptor.is_news(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_there_is_a_pause_even_if_nobody_waits_for_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut acceptor = Acceptor::new(listener);
        let _connection = TcpStream::connect(address).await.unwrap();
        let began = Instant::now();
        acceptor.failed(&io::Error::other("too many"), began);
        let given_up = tokio::time::timeout(PAUSE / 2, acceptor.accept()).await;
        assert!(given_up.is_err());
        acceptor.accept().await;
        assert!(began.elapsed() >= PAUSE);
    }
}
