//! A kube-apiserver.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    process::Command,
    time::{Instant, sleep, timeout},
};

use super::{
    access::{Access, Identity, client},
    etcd,
};
use crate::{Process, port};

/// Starting takes some seconds; this is for a machine that is very busy.
const START_DEADLINE: Duration = Duration::from_mins(3);

/// How long it may take to say whether it is ready.
const ANSWER: Duration = Duration::from_secs(5);

/// A kube-apiserver, which may be down.
#[derive(Debug)]
pub(super) struct ApiServer {
    process: Option<Process>,
    port: u16,
    etcd: PathBuf,
}

impl ApiServer {
    /// One that is ready.
    pub(super) async fn start(access: &Access, etcd: &Path) -> Result<Self> {
        let mut server = Self {
            process: None,
            port: 0,
            etcd: etcd.to_owned(),
        };
        let until = Instant::now() + START_DEADLINE;
        loop {
            // A port that is free now may be taken a moment later.
            [server.port] = port::free()?;
            let admin = Identity::Certificate("admin");
            access.write_kubeconfig("admin", server.address(), &admin);
            if server.launch_until(access, until).await? {
                return Ok(server);
            }
        }
    }

    /// Where it serves.
    pub(super) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Kills it and waits until it is gone.
    pub(super) async fn stop(&mut self) -> Result<()> {
        let mut process = self.process.take().context("it runs")?;
        Ok(process.kill().await?)
    }

    /// Starts it at the address that it had.
    pub(super) async fn start_again(&mut self, access: &Access) -> Result<()> {
        let until = Instant::now() + START_DEADLINE;
        // A connection of another program may be on its port for a moment.
        while !self.launch_until(access, until).await? {
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Whether it came up; if not, its port was taken.
    async fn launch_until(&mut self, access: &Access, until: Instant) -> Result<bool> {
        let log = self.etcd.join("kube-apiserver.log");
        let mut process = self.launch(access, &log)?;
        let client = client(&access.kubeconfig("admin")).await?;
        loop {
            let ready = http::Request::get("/readyz").body(Vec::new())?;
            if let Ok(Ok(_)) = timeout(ANSWER, client.request_text(ready)).await {
                self.process = Some(process);
                return Ok(true);
            }
            let has_ended = process.child().try_wait()?.is_some();
            if has_ended || Instant::now() > until {
                let log = std::fs::read_to_string(log)?;
                if has_ended && log.contains("address already in use") && Instant::now() < until {
                    return Ok(false);
                }
                bail!("kube-apiserver is not ready: {log}");
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn launch(&self, access: &Access, log: &Path) -> Result<Process> {
        let log = std::fs::File::create(log)?;
        let file = |name| access.path(name).display().to_string();
        let mut command = Command::new("kube-apiserver");
        command
            .args(["--etcd-servers", etcd::SOCKET])
            .args(["--bind-address", "127.0.0.1"])
            .args(["--advertise-address", "127.0.0.1"])
            .args(["--secure-port", &self.port.to_string()])
            .args(["--tls-cert-file", &file("server.crt")])
            .args(["--tls-private-key-file", &file("server.key")])
            .args(["--client-ca-file", &file("ca.crt")])
            .args(["--authorization-mode", "RBAC"])
            .args(["--service-account-issuer", "https://kubernetes.default.svc"])
            .args(["--service-account-key-file", &file("tokens.crt")])
            .args(["--service-account-signing-key-file", &file("tokens.key")])
            .args(["--service-cluster-ip-range", "10.0.0.0/24"])
            // There is no network whose endpoints it could keep.
            .args(["--endpoint-reconciler-type", "none"])
            .current_dir(&self.etcd)
            .stdout(log.try_clone()?)
            .stderr(Stdio::from(log));
        Process::start(&mut command).context("run `make tools`")
    }
}
