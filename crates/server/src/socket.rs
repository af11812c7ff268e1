//! Connections on their way from the listener to a worker.

use std::{
    io::{self, ErrorKind},
    net,
    os::unix,
    time::Duration,
};

use tokio::{
    net::{TcpStream, UnixStream},
    time::sleep,
};
use tokio_util::either::Either;

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

/// A connection of the current runtime.
pub(crate) type Stream = Either<TcpStream, UnixStream>;

/// Registers a connection with the current runtime.
pub(crate) fn on_this_runtime(stream: Loose) -> io::Result<Stream> {
    Ok(match stream {
        Either::Left(tcp) => Either::Left(TcpStream::from_std(tcp)?),
        Either::Right(unix) => Either::Right(UnixStream::from_std(unix)?),
    })
}
