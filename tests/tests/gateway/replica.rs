//! A replica of the gateway: a `vmcp serve` process.

use std::{io::Write as _, process::Stdio};

use tempfile::NamedTempFile;
use tokio::process::Command;
use toolgate_tests::{Process, eventually, vmcp};

use crate::caller::{Caller, http};

/// A replica of server `test/server` on a free port.
pub(crate) struct Replica {
    pub(crate) url: String,
    #[cfg_attr(not(feature = "sdk"), expect(dead_code, reason = "it is kept"))]
    process: Process,
    _config: NamedTempFile,
}

impl Replica {
    /// A replica that is ready; `rest` is the YAML of all that has no default.
    pub(crate) async fn start(rest: &str) -> Self {
        let mut config = NamedTempFile::new().expect("a file");
        let yaml = format!("name: server\nnamespace: test\nlisten: 127.0.0.1:0\n{rest}");
        config.write_all(yaml.as_bytes()).expect("written");
        let log = NamedTempFile::new().expect("a file");
        let mut command = Command::new(vmcp().expect("built"));
        command
            .args(["serve", "--config"])
            .arg(config.path())
            .env("RUST_LOG", "error")
            .stdout(Stdio::piped())
            .stderr(log.reopen().expect("a file"));
        let mut process = Process::start(&mut command).expect("a replica");
        let greeting = process.greeting().await.expect("a greeting");
        let Some((_, url)) = greeting.rsplit_once(' ') else {
            let log = std::fs::read_to_string(log.path());
            panic!("vmcp serve did not start: {}", log.unwrap_or_default());
        };
        let replica = Self {
            url: url.to_owned(),
            process,
            _config: config,
        };
        let ready = replica.url.replace("/mcp", "/readyz");
        eventually("the replica is ready", async || {
            let answer = http().get(&ready).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        replica
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        let (_, rest) = self.url.split_once("://").expect("a URL");
        rest.split('/').next().unwrap_or_default()
    }

    /// The process.
    #[cfg(feature = "sdk")]
    pub(crate) fn id(&mut self) -> u32 {
        self.process.child().id().expect("it runs")
    }

    /// Somebody without a token.
    pub(crate) fn anonymous(&self) -> Caller {
        Caller::new(&self.url, None)
    }
}
