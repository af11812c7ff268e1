//! `@modelcontextprotocol/server-everything`, a server from npm that keeps things in its sessions.

use std::process::Stdio;

use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, UnixStream},
    process::Command,
    task::JoinSet,
};
use toolgate_tests::{Process, eventually};

/// The server over HTTP, on a free port.
pub(crate) struct Everything {
    pub(crate) url: String,
    _forward: JoinSet<()>,
    _process: Process,
    _folder: TempDir,
}

impl Everything {
    /// It cannot say which port it was given, so it listens on a socket that a port leads to.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("socket");
        let mut command = Command::new("mcp-server-everything");
        command
            .arg("streamableHttp")
            .env("PORT", &socket)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Process::start(&mut command).expect("the server");
        eventually("the server listens", async || {
            UnixStream::connect(&socket).await.ok()
        })
        .await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut forward = JoinSet::new();
        forward.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let socket = socket.clone();
                connections.spawn(async move {
                    let server = UnixStream::connect(socket).await;
                    // Whoever hangs up ends both.
                    let _ = copy_bidirectional(&mut client, &mut server.expect("listens")).await;
                });
            }
        });
        Self {
            url: format!("http://{address}/mcp"),
            _forward: forward,
            _process: process,
            _folder: folder,
        }
    }
}
