//! What answers in plaintext where no limiter does.
//!
//! HTTP/2 says of such an end no more than that a frame has a wrong size. So when a connection in
//! plaintext fails before the limiter has said a word, it is asked once more by hand, and the first
//! bytes of the answer are looked at. That is one short connection for each attempt that fails.

use std::fmt;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};
use tonic::codegen::http::Uri;

/// The connection preface of HTTP/2 and empty settings (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A protocol that is not that of a limiter in plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    Tls,
    Http1,
}

impl Spoken {
    /// What the end at `uri` speaks, if its first bytes show that it is none of HTTP/2 in plaintext.
    pub(crate) async fn at(uri: &str) -> Option<Self> {
        if let Some(path) = uri.strip_prefix("unix://") {
            return Self::of(first(UnixStream::connect(path).await.ok()?).await?);
        }
        let uri: Uri = uri.parse().ok()?;
        let host = uri.host()?.trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, uri.port_u16()?)).await;
        Self::of(first(stream.ok()?).await?)
    }

    fn of(first: [u8; 5]) -> Option<Self> {
        match first {
            // A record with an alert, of any version (RFC 8446, section 5.1).
            [21, 3, ..] => Some(Self::Tls),
            [b'H', b'T', b'T', b'P', b'/'] => Some(Self::Http1),
            _ => None,
        }
    }
}

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "TLS",
            Self::Http1 => "HTTP/1",
        })
    }
}

/// The first bytes that the other end says to HTTP/2.
async fn first(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<[u8; 5]> {
    // Whoever has said no at once may not read it.
    let _ = stream.write_all(PREFACE).await;
    let mut first = [0; 5];
    stream.read_exact(&mut first).await.ok()?;
    Some(first)
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, UnixListener};

    use super::*;

    async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, said: &[u8]) {
        let mut asked = [0; PREFACE.len()];
        stream.read_exact(&mut asked).await.expect("open");
        assert_eq!(asked, PREFACE);
        stream.write_all(said).await.expect("open");
    }

    #[tokio::test]
    async fn the_first_bytes_say_what_is_spoken() {
        let folder = std::env::temp_dir();
        for (said, spoken) in [
            (&b"\x15\x03\x03\0\x02\x02\x46"[..], Some(Spoken::Tls)),
            (b"\x15\x03\x01\0\x02\x02\x28", Some(Spoken::Tls)),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", Some(Spoken::Http1)),
            (b"HTTP/1.0 400", Some(Spoken::Http1)),
            // Settings of HTTP/2, no words, and those of something else.
            (b"\0\0\0\x04\0\0\0\0\0", None),
            (b"", None),
            (b"\x15", None),
            (b"-ERR unknown command", None),
        ] {
            let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let uri = format!("http://{}", tcp.local_addr().expect("bound"));
            let answers = async { answer(tcp.accept().await.expect("accepted").0, said).await };
            let (at, ()) = tokio::join!(Spoken::at(&uri), answers);
            assert_eq!(at, spoken, "{said:?}");

            let name = format!("toolgate-spoken-{}-{}", std::process::id(), said.len());
            let path = folder.join(name);
            let unix = UnixListener::bind(&path).expect("a socket");
            let uri = format!("unix://{}", path.display());
            let answers = async { answer(unix.accept().await.expect("accepted").0, said).await };
            let (at, ()) = tokio::join!(Spoken::at(&uri), answers);
            assert_eq!(at, spoken, "{said:?}");
            std::fs::remove_file(path).expect("removed");
        }
        assert_eq!(Spoken::at("http://127.0.0.1:1").await, None);
        assert_eq!(Spoken::at("unix:///nowhere").await, None);
    }
}
