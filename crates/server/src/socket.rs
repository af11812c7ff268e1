//! Connections on their way from the listener to a worker.

use std::{io, net, os::unix};

use tokio::net::{TcpStream, UnixStream};
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
