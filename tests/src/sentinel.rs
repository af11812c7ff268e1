//! A master, a replica, and three sentinels that watch them.

use std::{path::PathBuf, process::Stdio};

use anyhow::{Context, Result, bail};
use redis::{Value, aio::MultiplexedConnection, cmd};
use tokio::{
    process::Command,
    time::{Duration, Instant, sleep},
};

use crate::{PATIENCE, Process, RedisServer, connect, eventually, port};

/// The name under which sentinels know the master.
const NAME: &str = "buckets";

/// Two servers and three sentinels of the test's own, on free ports.
#[derive(Debug)]
pub struct SentinelTrio {
    servers: Vec<(u16, RedisServer)>,
    sentinels: Vec<Sentinel>,
}

#[derive(Debug)]
struct Sentinel {
    port: u16,
    /// `user:password@`, if it asks for them.
    login: Option<(String, String)>,
    folder: tempfile::TempDir,
    _process: Process,
}

/// What differs from servers and sentinels that trust everybody.
#[derive(Clone, Debug, Default)]
pub struct SentinelOptions {
    /// More arguments of both servers.
    pub server_arguments: Vec<String>,
    /// More lines in the configuration of each sentinel.
    pub sentinel_lines: Vec<String>,
    /// The user and password that sentinels ask for.
    pub sentinel_login: Option<(String, String)>,
}

impl SentinelTrio {
    /// Sentinels that agree on a master with one replica, in step with it.
    pub async fn start() -> Result<Self> {
        Self::start_with(&SentinelOptions::default()).await
    }

    /// The same, with `options`.
    pub async fn start_with(options: &SentinelOptions) -> Result<Self> {
        let mut last = None;
        // A port that is free now may be taken a moment later.
        for _attempt in 0..5 {
            match Self::attempt(options).await {
                Ok(trio) => return Ok(trio),
                Err(error) => last = Some(error),
            }
        }
        last.map_or_else(|| bail!("no attempt was made"), Err)
    }

    async fn attempt(options: &SentinelOptions) -> Result<Self> {
        let [master, replica, a, b, c] = port::free()?;
        let master_at = master.to_string();
        let mut servers = Vec::new();
        for port in [master, replica] {
            let port_at = port.to_string();
            let is_tls = options
                .server_arguments
                .iter()
                .any(|a| a == "--tls-replication");
            let port_flag = if is_tls { "--tls-port" } else { "--port" };
            let mut arguments = vec![port_flag, &port_at, "--bind", "127.0.0.1"];
            // A replica takes over in no time, and follows a new master at once.
            arguments.extend([
                "--repl-diskless-sync-delay",
                "0",
                "--repl-ping-replica-period",
                "1",
            ]);
            if port == replica {
                arguments.extend(["--replicaof", "127.0.0.1", &master_at]);
            }
            arguments.extend(options.server_arguments.iter().map(String::as_str));
            servers.push((port, RedisServer::start_with(&arguments, None).await?));
        }
        let mut sentinels = Vec::new();
        for port in [a, b, c] {
            sentinels.push(Sentinel::start(port, master, options)?);
        }
        let trio = Self { servers, sentinels };
        trio.agrees().await?;
        Ok(trio)
    }

    /// The URL for `--store`.
    pub fn url(&self) -> String {
        self.url_of("redis", "")
    }

    /// The URL with another transport (`rediss`) and `user:password@`.
    pub fn url_of(&self, transport: &str, userinfo: &str) -> String {
        let sentinels = self
            .sentinels
            .iter()
            .map(|s| format!("127.0.0.1:{}", s.port));
        let sentinels: Vec<_> = sentinels.collect();
        format!(
            "{transport}+sentinel://{userinfo}{}/{NAME}",
            sentinels.join(",")
        )
    }

    /// The server that says of itself that it is a master. There may be two for a while; this is
    /// the one that the first sentinel names.
    pub async fn master(&self) -> Result<&RedisServer> {
        let port = self.named().await?;
        let known = self.servers.iter().find(|(at, _)| *at == port);
        Ok(&known.context("a sentinel names a stranger")?.1)
    }

    /// Kills the master, as a crash would, and returns its place among the servers.
    pub async fn kill_master(&mut self) -> Result<usize> {
        let port = self.named().await?;
        let at = self.servers.iter().position(|(at, _)| *at == port);
        let at = at.context("a sentinel names a stranger")?;
        self.servers[at].1.kill().await?;
        Ok(at)
    }

    /// The server at that place.
    pub fn server(&mut self, place: usize) -> &mut RedisServer {
        &mut self.servers[place].1
    }

    /// The place of the server that the first sentinel names as master.
    pub async fn master_place(&self) -> Result<usize> {
        let port = self.named().await?;
        let place = self.servers.iter().position(|(at, _)| *at == port);
        place.context("a sentinel names a stranger")
    }

    /// Lets the replica take over while the master is well.
    pub async fn fail_over(&self) -> Result<()> {
        let mut sentinel = self.sentinels[0].connection().await?;
        let mut command = cmd("SENTINEL");
        command.arg("FAILOVER").arg(NAME);
        Ok(command.exec_async(&mut sentinel).await?)
    }

    /// Waits until the sentinels name another master than the server at `place`.
    pub async fn has_failed_over(&self, place: usize) {
        eventually("the sentinels name another master", async || {
            let now = self.master_place().await.ok()?;
            (now != place).then_some(())
        })
        .await;
    }

    async fn named(&self) -> Result<u16> {
        let mut sentinel = self.sentinels[0].connection().await?;
        let mut command = cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(NAME);
        let (_host, port): (String, u16) = command.query_async(&mut sentinel).await?;
        Ok(port)
    }

    /// Waits until every sentinel knows the replica and both other sentinels, so that they would
    /// agree on a fail-over.
    async fn agrees(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        for sentinel in &self.sentinels {
            loop {
                if sentinel.knows_all().await.unwrap_or(false) {
                    break;
                }
                if Instant::now() > until {
                    bail!("the sentinels do not find each other");
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }
}

impl Sentinel {
    fn start(port: u16, master: u16, options: &SentinelOptions) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("sentinel.conf");
        let is_tls = options
            .sentinel_lines
            .iter()
            .any(|line| line == "tls-replication yes");
        let mut lines = vec![
            if is_tls {
                format!("port 0\ntls-port {port}")
            } else {
                format!("port {port}")
            },
            format!("unixsocket {}", folder.path().join("redis.sock").display()),
            "bind 127.0.0.1".to_owned(),
            format!("dir {}", folder.path().display()),
            format!("sentinel monitor {NAME} 127.0.0.1 {master} 2"),
            format!("sentinel down-after-milliseconds {NAME} 1000"),
            format!("sentinel failover-timeout {NAME} 5000"),
        ];
        lines.extend(options.sentinel_lines.iter().cloned());
        std::fs::write(&file, lines.join("\n"))?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel");
        command.stdout(log.try_clone()?).stderr(Stdio::from(log));
        Ok(Self {
            port,
            login: options.sentinel_login.clone(),
            folder,
            _process: Process::start(&mut command)?,
        })
    }

    /// A connection past TLS.
    async fn connection(&self) -> Result<MultiplexedConnection> {
        let socket: PathBuf = self.folder.path().join("redis.sock");
        let login = match &self.login {
            Some((user, password)) => format!("?user={user}&pass={password}"),
            None => String::new(),
        };
        connect(&format!("redis+unix://{}{login}", socket.display())).await
    }

    async fn knows_all(&self) -> Result<bool> {
        let mut connection = self.connection().await?;
        let mut count = async |what: &str| -> Result<usize> {
            let mut command = cmd("SENTINEL");
            let listed = command.arg(what).arg(NAME).query_async(&mut connection);
            match listed.await? {
                Value::Array(listed) => Ok(listed.len()),
                _ => Ok(0),
            }
        };
        Ok(count("REPLICAS").await? == 1 && count("SENTINELS").await? == 2)
    }
}
