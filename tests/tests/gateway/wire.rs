//! Connections to a replica, byte by byte.

use futures::FutureExt as _;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::replica::Replica;

/// A connection to `replica` on which `said` was sent.
pub(crate) async fn says(replica: &Replica, said: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(replica.address())
        .await
        .expect("the listener takes it");
    // It may be closed in the middle.
    let _ = stream.write_all(said).await;
    stream
}

/// A POST of `body` to MCP by the holder of `token`; `headers` are more of them, each with its end.
pub(crate) fn post(token: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A call of `tool`.
pub(crate) fn call(token: &str, tool: &str) -> Vec<u8> {
    let params = json!({"name": tool, "arguments": {}});
    let call: Value = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    post(token, "", call.to_string().as_bytes())
}

pub(crate) const LIVEZ: &[u8] = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// The status and the rest of the answer that comes next, if one does. It is in one part.
pub(crate) async fn answer(stream: &mut TcpStream) -> Option<(u16, String)> {
    let mut said = vec![0; 16 * 1024];
    let read = stream.read(&mut said).await.ok().filter(|read| *read > 0)?;
    let said = String::from_utf8_lossy(&said[..read]).into_owned();
    let status = said.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, said))
}

/// Whether the other side has closed a connection.
pub(crate) fn is_closed(stream: &mut TcpStream) -> bool {
    let mut said = [0; 4_096];
    loop {
        match stream.read(&mut said).now_or_never() {
            Some(Ok(0) | Err(_)) => return true,
            Some(Ok(_)) => {}
            None => return false,
        }
    }
}
