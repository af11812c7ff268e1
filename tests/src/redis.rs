//! A real redis-server.

use std::{
    io::ErrorKind,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use tokio::{process::Command, time::Instant};

use crate::{PATIENCE, Process, TurnedClock};

/// Starting takes some milliseconds; this is for a machine that is very busy.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// A redis-server of the test's own, on a Unix socket in a folder of its own.
#[derive(Debug)]
pub struct RedisServer {
    process: Process,
    folder: tempfile::TempDir,
    arguments: Vec<String>,
    tls_port: u16,
}

impl RedisServer {
    /// A server that answers.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[], None).await
    }

    /// A server that sees `clock`, and answers.
    pub async fn start_on(clock: &TurnedClock) -> Result<Self> {
        Self::start_with(&[], Some(clock)).await
    }

    /// A server with more arguments, and answers.
    pub async fn start_with(arguments: &[&str], clock: Option<&TurnedClock>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let process = launch(&folder, &arguments, clock)?;
        let mut server = Self {
            process,
            folder,
            arguments,
            tls_port: 0,
        };
        server.answers().await?;
        Ok(server)
    }

    /// A server that speaks TLS on a port of localhost too, with more arguments.
    pub async fn start_with_tls(
        certificate: &Path,
        key: &Path,
        arguments: &[&str],
    ) -> Result<Self> {
        let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
        let mut last = None;
        // A port that is free now may be taken a moment later.
        for _attempt in 0..10 {
            let tls_port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let port = tls_port.to_string();
            let mut all = vec!["--tls-port", &port, "--bind", "127.0.0.1"];
            all.extend(["--tls-cert-file", &certificate, "--tls-key-file", &key]);
            all.extend([
                "--tls-ca-cert-file",
                &certificate,
                "--tls-auth-clients",
                "no",
            ]);
            all.extend(arguments);
            match Self::start_with(&all, None).await {
                Ok(server) => return Ok(Self { tls_port, ..server }),
                Err(error) => last = Some(error),
            }
        }
        last.map_or_else(|| bail!("no attempt was made"), Err)
    }

    /// The port on which the server speaks TLS; 0 if it does not.
    pub fn tls_port(&self) -> u16 {
        self.tls_port
    }

    /// Kills the server, as a crash would.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.process.kill().await?)
    }

    /// Sends `signal` to the server, for example to stop and to continue it.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Stalls the server: it takes connections and bytes, and answers nothing until it is resumed.
    pub fn pause(&mut self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets a paused server go on where it was.
    pub fn resume(&mut self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Deletes all keys.
    pub async fn flush(&self) -> Result<()> {
        self.command(&["FLUSHALL"]).await
    }

    /// Sends one command, past Toolgate, whose reply does not matter.
    pub async fn command(&self, words: &[&str]) -> Result<()> {
        let (name, arguments) = words.split_first().context("a command has a name")?;
        let mut command = redis::cmd(name);
        command.arg(arguments);
        Ok(command.exec_async(&mut self.connection().await?).await?)
    }

    /// Starts the server anew, at the same address and empty.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill().await?;
        match std::fs::remove_file(self.folder.path().join("dump.rdb")) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        self.launch_again().await
    }

    /// Starts the server anew, at the same address and with all that it held.
    pub async fn restart_with_data(&mut self) -> Result<()> {
        self.command(&["SAVE"]).await?;
        self.kill().await?;
        self.launch_again().await
    }

    async fn launch_again(&mut self) -> Result<()> {
        self.process = launch(&self.folder, &self.arguments, None)?;
        self.answers().await
    }

    /// The URL of its socket, for `--store`.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// A connection of the test's own, past Toolgate.
    pub async fn connection(&self) -> Result<redis::aio::MultiplexedConnection> {
        let client = redis::Client::open(self.url())?;
        // On a busy machine a script that fills it takes seconds.
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
        Ok(client
            .get_multiplexed_async_connection_with_config(&config)
            .await?)
    }

    /// The path of its socket, where a [`crate::FaultProxy`] may lead.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    async fn answers(&mut self) -> Result<()> {
        let until = Instant::now() + START_DEADLINE;
        while self.connection().await.is_err() {
            let has_ended = self.process.child().try_wait()?.is_some();
            if has_ended || Instant::now() > until {
                let log = std::fs::read_to_string(self.folder.path().join("log"));
                bail!("redis-server does not answer: {}", log.unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

fn launch(
    folder: &tempfile::TempDir,
    arguments: &[String],
    clock: Option<&TurnedClock>,
) -> Result<Process> {
    let log = std::fs::File::create(folder.path().join("log"))?;
    let mut command = Command::new("redis-server");
    command
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--dir"])
        .arg(folder.path())
        .arg("--unixsocket")
        .arg(folder.path().join("redis.sock"))
        .args(arguments)
        .stdout(log.try_clone()?)
        .stderr(Stdio::from(log));
    if let Some(clock) = clock {
        clock.show_to(&mut command)?;
    }
    Process::start(&mut command).context("install redis-server 7 or newer")
}
