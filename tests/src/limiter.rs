//! A limiter: a `toolgate serve` process.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
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

use crate::{Exposition, PolicyFile, Process, toolgate};

/// For a machine that is very busy; no test waits this long when all is well.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A limiter on free ports, started by the test and ended with this value.
#[derive(Debug)]
pub struct Limiter {
    running: Running,
    /// With what it was started.
    source: Source,
    arguments: Vec<OsString>,
    /// The policies, if the limiter has a file of its own.
    _policies: Option<PolicyFile>,
}

/// Where a limiter has its policies from.
#[derive(Clone, Debug)]
enum Source {
    /// A file, or a folder of files.
    Files(PathBuf),
    /// The namespaces of the cluster to which this kubeconfig leads.
    Cluster {
        kubeconfig: PathBuf,
        namespaces: String,
    },
}

/// One process of a limiter, from start to end.
#[derive(Debug)]
struct Running {
    process: Process,
    endpoint: String,
    http_address: String,
    log: tempfile::NamedTempFile,
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
        Self::start_from(Source::Files(policies.to_owned()), arguments, adjust).await
    }

    /// As [`Limiter::of_spec`], run by the program `launcher`, which gets the command of the limiter as its
    /// last arguments.
    pub async fn under<A: AsRef<OsStr>>(
        launcher: &[&str],
        spec: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        let policies = PolicyFile::of_spec(spec)?;
        let adjust = |command: &mut Command| {
            let limiter = command.as_std();
            let mut replacement = std::process::Command::new(launcher[0]);
            replacement
                .args(&launcher[1..])
                .arg(limiter.get_program())
                .args(limiter.get_args());
            for (name, value) in limiter.get_envs() {
                replacement.env(name, value.unwrap_or_default());
            }
            *command = replacement.into();
        };
        let limiter = Self::start_with(&policies.path(), arguments, adjust).await?;
        Ok(Self {
            _policies: Some(policies),
            ..limiter
        })
    }

    /// The id of its process.
    pub fn id(&mut self) -> Result<u32> {
        let id = self.running.process.child().id();
        id.context("the limiter has ended")
    }

    /// A limiter with the policies of `namespaces`, as `--kubernetes-namespaces` takes them, and more
    /// arguments, which listens. It need not be ready.
    pub async fn in_cluster<A: AsRef<OsStr>>(
        kubeconfig: &Path,
        namespaces: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        let source = Source::Cluster {
            kubeconfig: kubeconfig.to_owned(),
            namespaces: namespaces.to_owned(),
        };
        Self::start_from(source, arguments, |_| {}).await
    }

    async fn start_from<A: AsRef<OsStr>>(
        source: Source,
        arguments: impl IntoIterator<Item = A>,
        adjust: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let owned = |argument: A| argument.as_ref().to_owned();
        let arguments: Vec<_> = arguments.into_iter().map(owned).collect();
        Ok(Self {
            running: Running::start(&source, &arguments, adjust).await?,
            source,
            arguments,
            _policies: None,
        })
    }

    /// Kills it, as a crash would.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.running.process.kill().await?)
    }

    /// Starts it anew with the arguments that it had, after its end. A free port is another one
    /// then; a Unix socket is the same.
    pub async fn restart(&mut self) -> Result<()> {
        self.running = Running::start(&self.source, &self.arguments, |_| {}).await?;
        Ok(())
    }

    /// The memory that it holds, in bytes.
    pub fn resident_bytes(&mut self) -> Result<u64> {
        let id = self.id()?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next());
        let kilobytes: u64 = kilobytes.context("a process has a size")?.parse()?;
        Ok(kilobytes * 1_024)
    }

    /// Where it serves gRPC, as `--endpoint` takes it.
    pub fn endpoint(&self) -> &str {
        &self.running.endpoint
    }

    /// Where it serves HTTP, as `host:port`.
    pub fn http_address(&self) -> &str {
        &self.running.http_address
    }

    /// What it shows on `/metrics`.
    pub async fn metrics(&self) -> Result<Exposition> {
        Exposition::scrape(&self.running.http_address).await
    }

    /// A new connection to it.
    pub async fn channel(&self) -> Result<Channel> {
        let endpoint = Endpoint::from_shared(self.running.endpoint.clone())?.tcp_nodelay(true);
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
        Ok(std::fs::read_to_string(self.running.log.path())?)
    }

    /// Sends `signal` to the process.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.running.process.signal(signal)
    }

    /// Waits until the process ends.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        Ok(timeout(PATIENCE, self.running.process.child().wait()).await??)
    }
}

impl Running {
    async fn start(
        source: &Source,
        arguments: &[OsString],
        adjust: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let log = tempfile::NamedTempFile::new()?;
        let mut command = Command::new(toolgate()?);
        command.args(["serve", "--log-format", "json"]);
        match source {
            Source::Files(policies) => command.arg("--policies").arg(policies),
            Source::Cluster {
                kubeconfig,
                namespaces,
            } => command
                .args(["--kubernetes-namespaces", namespaces])
                .env("KUBECONFIG", kubeconfig),
        };
        command
            .args(arguments)
            // A flag among the arguments wins.
            .env("TOOLGATE_GRPC_LISTEN", "127.0.0.1:0")
            .env("TOOLGATE_HTTP_LISTEN", "127.0.0.1:0");
        adjust(&mut command);
        command.stdout(Stdio::piped()).stderr(log.reopen()?);
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
            _stdout: stdout,
        })
    }
}
