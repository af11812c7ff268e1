//! A limiter: a `toolgate serve` process.

use std::{
    ffi::OsStr,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{ChildStdout, Command},
    time::timeout,
};
use tonic::transport::{Channel, Endpoint};
use toolgate_proto::pb::{
    CheckRequest, CheckResponse, admin_service_client::AdminServiceClient,
    limiter_service_client::LimiterServiceClient,
};

use crate::{PolicyFile, Process, toolgate};

/// For a machine that is very busy; no test waits this long when all is well.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A limiter on free ports, started by the test and ended with this value.
#[derive(Debug)]
pub struct Limiter {
    process: Process,
    endpoint: String,
    http_address: String,
    log: tempfile::NamedTempFile,
    /// The policies, if the limiter has a file of its own.
    _policies: Option<PolicyFile>,
    _stdout: BufReader<ChildStdout>,
}

impl Limiter {
    /// A limiter with the policies at `policies` and more arguments, which listens.
    pub async fn start<A: AsRef<OsStr>>(
        policies: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        Self::start_with(policies, arguments, |_| {}).await
    }

    /// As [`Limiter::start`], with a policy file of its own; see [`PolicyFile::of_spec`].
    pub async fn of_spec<A: AsRef<OsStr>>(
        spec: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        let policies = PolicyFile::of_spec(spec)?;
        let limiter = Self::start(&policies.path(), arguments).await?;
        Ok(Self {
            _policies: Some(policies),
            ..limiter
        })
    }

    /// As [`Limiter::start`]; `adjust` changes the command before it runs.
    pub async fn start_with<A: AsRef<OsStr>>(
        policies: &Path,
        arguments: impl IntoIterator<Item = A>,
        adjust: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let log = tempfile::NamedTempFile::new()?;
        let mut command = Command::new(toolgate()?);
        command
            .args(["serve", "--log-format", "json", "--policies"])
            .arg(policies)
            .args(arguments)
            // A flag among the arguments wins.
            .env("TOOLGATE_GRPC_LISTEN", "127.0.0.1:0")
            .env("TOOLGATE_HTTP_LISTEN", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .stderr(log.reopen()?);
        adjust(&mut command);
        let mut process = Process::start(&mut command)?;
        let stdout = process.child().stdout.take().context("stdout is piped")?;
        let mut stdout = BufReader::new(stdout);
        let mut greeting = String::new();
        while !greeting.contains("  store ") {
            let read = timeout(PATIENCE, stdout.read_line(&mut greeting)).await??;
            if read == 0 {
                let log = std::fs::read_to_string(log.path())?;
                bail!("toolgate serve did not start: {greeting}{log}");
            }
        }
        let address = |name| {
            let mut lines = greeting.lines();
            let line = lines.find_map(|line| line.trim().strip_prefix(name));
            let first_word = line.and_then(|line| line.split_whitespace().next());
            first_word.context("the greeting names its addresses")
        };
        let endpoint = match address("gRPC")? {
            unix if unix.starts_with("unix://") => unix.to_owned(),
            tcp => format!("http://{tcp}"),
        };
        Ok(Self {
            endpoint,
            http_address: address("HTTP")?.to_owned(),
            process,
            log,
            _policies: None,
            _stdout: stdout,
        })
    }

    /// Where it serves gRPC, as `--endpoint` takes it.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Where it serves HTTP, as `host:port`.
    pub fn http_address(&self) -> &str {
        &self.http_address
    }

    /// A new connection to it.
    pub async fn channel(&self) -> Result<Channel> {
        let endpoint = Endpoint::from_shared(self.endpoint.clone())?.tcp_nodelay(true);
        Ok(timeout(PATIENCE, endpoint.connect()).await??)
    }

    /// A client of `LimiterService` on a new connection.
    pub async fn client(&self) -> Result<LimiterServiceClient<Channel>> {
        Ok(LimiterServiceClient::new(self.channel().await?))
    }

    /// A client of `AdminService` on a new connection.
    pub async fn admin(&self) -> Result<AdminServiceClient<Channel>> {
        Ok(AdminServiceClient::new(self.channel().await?))
    }

    /// Decides one check on a new connection.
    pub async fn check(&self, request: CheckRequest) -> Result<CheckResponse> {
        let reply = timeout(PATIENCE, self.client().await?.check(request)).await??;
        Ok(reply.into_inner())
    }

    /// What it has logged so far.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.log.path())?)
    }

    /// Its resident memory, in bytes.
    pub fn resident_bytes(&mut self) -> Result<u64> {
        let id = self.process.child().id().context("the process has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: u64 = kib.context("Linux says so")?.trim().parse()?;
        Ok(kib * 1024)
    }

    /// Sends `signal` to the process.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Waits until the process ends.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        Ok(timeout(PATIENCE, self.process.child().wait()).await??)
    }
}
