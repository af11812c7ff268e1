//! Where an API server keeps what it holds.

use std::{path::Path, process::Stdio};

use anyhow::{Context as _, Result};
use tokio::process::Command;

use crate::Process;

/// The Unix socket of an etcd, in its folder: etcd takes no path, and what looks like a host and port
/// becomes the name of a file.
pub(super) const SOCKET: &str = "unix://clients:1";
const PEERS: &str = "unix://peers:1";

/// An etcd of the test's own.
#[derive(Debug)]
pub(super) struct Etcd {
    _process: Process,
    folder: tempfile::TempDir,
}

impl Etcd {
    /// One that may not answer yet.
    pub(super) fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let mut command = Command::new("etcd");
        command
            .args(["--data-dir", "data", "--unsafe-no-fsync"])
            .args(["--listen-client-urls", SOCKET])
            .args(["--advertise-client-urls", SOCKET])
            .args(["--listen-peer-urls", PEERS])
            .args(["--initial-advertise-peer-urls", PEERS])
            .args(["--initial-cluster", &format!("default={PEERS}")])
            .args(["--logger", "zap", "--log-level", "warn"])
            .current_dir(folder.path())
            .stdout(log.try_clone()?)
            .stderr(Stdio::from(log));
        Ok(Self {
            _process: Process::start(&mut command).context("run `make tools`")?,
            folder,
        })
    }

    /// Where its socket is.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }
}
