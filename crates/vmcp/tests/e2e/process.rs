//! The command `vmcp` as a process.

use std::{
    io::Write as _,
    net::SocketAddr,
    process::{Output, Stdio},
    time::Duration,
};

use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// A server on a free port, with nothing behind it.
pub(crate) const CONFIG: &str = "
name: research
listen: 127.0.0.1:0
incomingAuth: {type: anonymous}
backends: []
";

/// `vmcp serve`. It is killed when it is dropped.
pub(crate) struct Process {
    pub(crate) address: SocketAddr,
    pub(crate) stdout: BufReader<ChildStdout>,
    child: Child,
    _config: NamedTempFile,
}

/// The command by way of a shell that does `first` before.
fn command(config: &NamedTempFile, first: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!(r#"{first}; exec "$@""#), "sh"])
        .args([env!("CARGO_BIN_EXE_vmcp"), "serve", "--config"])
        .arg(config.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env_remove("RUST_LOG")
        .kill_on_drop(true);
    command
}

fn file(yaml: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(yaml.as_bytes()).unwrap();
    file
}

impl Process {
    /// Starts it after a line of shell, and waits until it listens.
    pub(crate) async fn start(yaml: &str, first: &str) -> Self {
        // The tests' own requests need it; a server in this process would have chosen it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = file(yaml);
        let mut child = command(&config, first).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut greeting = String::new();
        stdout.read_line(&mut greeting).await.unwrap();
        Self {
            address: greeting.trim().rsplit('/').nth(1).unwrap().parse().unwrap(),
            stdout,
            child,
            _config: config,
        }
    }

    /// Sends it a signal, such as `-TERM`.
    pub(crate) async fn signal(&self, signal: &str) {
        let id = self.child.id().unwrap().to_string();
        let kill = Command::new("kill").args([signal, &id]).status().await;
        assert!(kill.unwrap().success());
    }

    /// Tells it to stop, waits until it has, and returns what it has logged.
    pub(crate) async fn stopped(self) -> String {
        self.signal("-TERM").await;
        let ended = timeout(Duration::from_secs(40), self.child.wait_with_output());
        let output = ended.await.expect("it stops").unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

/// Runs it to an end that it comes to by itself.
pub(crate) async fn run(yaml: &str, first: &str) -> Output {
    let config = file(yaml);
    let ended = command(&config, first).output();
    timeout(Duration::from_secs(20), ended)
        .await
        .expect("it ends")
        .unwrap()
}
