//! `@modelcontextprotocol/server-everything`, a server from npm that keeps things in its sessions.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

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
    process: Process,
    folder: TempDir,
}

impl Everything {
    /// It cannot say which port it was given, so it listens on a socket that a port leads to.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let process = listening(&socket(&folder)).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut forward = JoinSet::new();
        let socket = socket(&folder);
        forward.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let socket = socket.clone();
                connections.spawn(async move {
                    // Whoever hangs up ends both, and so does a server that is gone.
                    if let Ok(mut server) = UnixStream::connect(socket).await {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self {
            url: format!("http://{address}/mcp"),
            _forward: forward,
            process,
            folder,
        }
    }

    /// Ends it, and what it knows of sessions.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.expect("killed");
        std::fs::remove_file(socket(&self.folder)).expect("it was there");
    }

    /// Starts it where it was.
    pub(crate) async fn start_again(&mut self) {
        self.process = listening(&socket(&self.folder)).await;
    }
}

fn socket(folder: &TempDir) -> PathBuf {
    folder.path().join("socket")
}

async fn listening(socket: &Path) -> Process {
    let mut command = Command::new("mcp-server-everything");
    command
        .arg("streamableHttp")
        .env("PORT", socket)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let process = Process::start(&mut command).expect("the server");
    eventually("the server listens", async || {
        UnixStream::connect(socket).await.ok()
    })
    .await;
    process
}
