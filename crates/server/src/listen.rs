//! Where the limiter listens.

use std::{
    fmt, io,
    net::SocketAddr,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    str::FromStr,
};

use tokio::net::{TcpListener, UnixListener, UnixStream};
use toolgate_net::Acceptor;

/// An address to listen on: `ip:port`, or `unix:///path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// TCP. Port 0 takes a free one.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// A text that is no [`Listen`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no address to listen on; write it like 127.0.0.1:7070, [::1]:7070 or unix:///run/toolgate.sock"
)]
pub struct InvalidListen(String);

impl FromStr for Listen {
    type Err = InvalidListen;

    fn from_str(text: &str) -> Result<Self, InvalidListen> {
        let invalid = || InvalidListen(text.to_owned());
        match text.strip_prefix("unix://") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err(invalid()),
            None => text.parse().map(Self::Tcp).map_err(|_| invalid()),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl Listen {
    /// Binds, and tells the address in use, with the port that was taken for port 0.
    pub(crate) async fn bind(&self) -> io::Result<(Acceptor, Self)> {
        match self {
            Self::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                let bound = Self::Tcp(listener.local_addr()?);
                Ok((Acceptor::new(listener), bound))
            }
            Self::Unix(path) => {
                remove_stale_socket(path).await?;
                let listener = UnixListener::bind(path)?;
                Ok((Acceptor::new(listener), self.clone()))
            }
        }
    }
}

/// Removes the socket that a process has left behind, but neither one that is in use nor any
/// other file.
async fn remove_stale_socket(path: &Path) -> io::Result<()> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Ok(());
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)?;
        }
        _ => {} // somebody listens, or may: binding will say so
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_as_it_is_written() {
        for text in ["127.0.0.1:7070", "[::1]:0", "unix:///run/toolgate.sock"] {
            let listen: Listen = text.parse().expect(text);
            assert_eq!(listen.to_string(), text);
        }
        for text in ["", "7070", "localhost:7070", "unix://relative", "unix:/x"] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let listen = Listen::Unix(folder.path().join("socket"));
        let (first, _) = listen.bind().await.expect("free");
        let in_use = listen.bind().await.expect_err("in use");
        assert_eq!(in_use.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        listen.bind().await.expect("stale");
    }

    #[tokio::test]
    async fn another_file_is_never_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("precious");
        std::fs::write(&path, "data").expect("a file");
        Listen::Unix(path.clone()).bind().await.expect_err("a file");
        assert_eq!(std::fs::read_to_string(path).expect("still there"), "data");
    }
}
