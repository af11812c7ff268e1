//! The processes that are measured.

use std::process::Stdio;

use redis::aio::MultiplexedConnection;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{ChildStdout, Command},
    runtime::{Builder, Runtime},
};
use toolgate_tests::{PolicyFile, Process, RedisServer, toolgate};

use crate::no_op;

/// How long to measure, and where processes are looked after.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) runtime: Runtime,
    pub(crate) quick: bool,
}

impl Stage {
    pub(crate) fn new(quick: bool) -> Self {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build();
        Self {
            runtime: runtime.expect("a runtime"),
            quick,
        }
    }

    /// Rounds of each comparison.
    pub(crate) const fn rounds(&self) -> usize {
        if self.quick { 2 } else { 5 }
    }

    /// What a full run takes, or a small part of it.
    pub(crate) const fn sized(&self, full: usize) -> usize {
        if self.quick { full / 20 } else { full }
    }

    /// How long to measure each side in each round, for `toolgate bench`.
    pub(crate) fn duration(&self, full_millis: u64) -> String {
        format!("{}ms", if self.quick { 400 } else { full_millis })
    }

    /// What the figures were measured on.
    pub(crate) fn describe(&self) -> String {
        let cpus = std::thread::available_parallelism().map_or(0, Into::into);
        let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = information
            .lines()
            .find_map(|line| line.strip_prefix("model name"))
            .map_or("unknown CPU", |line| {
                line.trim_start_matches([' ', '\t', ':'])
            });
        let rounds = self.rounds();
        let version = std::process::Command::new("redis-server")
            .arg("--version")
            .output();
        let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let version = version.expect("install redis-server 7 or newer");
        let version = version
            .split_whitespace()
            .find_map(|word| word.strip_prefix("v="));
        let version = version.unwrap_or("of unknown version");
        let quick = if self.quick {
            ", a quick run: the figures say little"
        } else {
            ""
        };
        format!(
            "{cpus} CPUs ({model}), Redis {version}, medians of {rounds} interleaved rounds{quick}\n"
        )
    }

    /// A limiter with these policies, on Redis or in memory.
    pub(crate) fn limiter(&self, policies: &PolicyFile, redis: Option<&Redis>) -> Served {
        self.limiter_with(policies, redis, &[])
    }

    /// The same, with more settings.
    pub(crate) fn limiter_with(
        &self,
        policies: &PolicyFile,
        redis: Option<&Redis>,
        settings: &[&str],
    ) -> Served {
        self.limiter_in(policies, redis, settings, &[])
    }

    /// As [`Stage::limiter_with`], with these variables in its environment.
    pub(crate) fn limiter_in(
        &self,
        policies: &PolicyFile,
        redis: Option<&Redis>,
        settings: &[&str],
        environment: &[(&str, &str)],
    ) -> Served {
        let mut command = Command::new(toolgate().expect("it builds"));
        command
            .args(["serve", "--log", "error", "--memory-max-users", "2000000"])
            .args([
                "--grpc-listen",
                "127.0.0.1:0",
                "--http-listen",
                "127.0.0.1:0",
            ])
            .arg("--policies")
            .arg(policies.path())
            .args(settings)
            .envs(environment.iter().copied());
        if let Some(redis) = redis {
            // What is measured is the cost of checks, not what happens when it is too high.
            command.args(["--store", &redis.server.url(), "--store-timeout", "5s"]);
        }
        self.serve(&mut command)
    }

    /// A server of the same API that decides nothing.
    pub(crate) fn no_op(&self) -> Served {
        let this = std::env::current_exe().expect("this program");
        self.serve(Command::new(this).arg(no_op::COMMAND))
    }

    fn serve(&self, command: &mut Command) -> Served {
        self.runtime.block_on(async {
            let mut process = Process::start(command.stdout(Stdio::piped())).expect("it starts");
            let pid = process.child().id().expect("it runs");
            let stdout = process.child().stdout.take().expect("it is piped");
            let mut lines = BufReader::new(stdout).lines();
            loop {
                let line = lines
                    .next_line()
                    .await
                    .expect("a line")
                    .expect("a greeting");
                if let Some(address) = line.trim().strip_prefix("gRPC") {
                    return Served {
                        _process: process,
                        _stdout: lines.into_inner(),
                        pid,
                        endpoint: format!("http://{}", address.trim()),
                    };
                }
            }
        })
    }

    pub(crate) fn redis(&self) -> Redis {
        self.runtime.block_on(async {
            let server = RedisServer::start().await.expect("Redis");
            let connection = server.connection().await.expect("a connection");
            let mut redis = Redis {
                server,
                connection,
                pid: 0,
            };
            redis.pid = redis
                .number("server", "process_id:")
                .await
                .try_into()
                .expect("an id");
            redis
        })
    }
}

/// A server that speaks `toolgate.v1`; it ends with this value.
#[derive(Debug)]
pub(crate) struct Served {
    _process: Process,
    _stdout: BufReader<ChildStdout>,
    pub(crate) pid: u32,
    pub(crate) endpoint: String,
}

/// A Redis of this section's own.
#[derive(Debug)]
pub(crate) struct Redis {
    pub(crate) server: RedisServer,
    pub(crate) connection: MultiplexedConnection,
    pub(crate) pid: u32,
}

impl Redis {
    /// Commands since its start, those within scripts too; and of these, how many ran a script.
    pub(crate) fn calls(&self, stage: &Stage) -> (u64, u64) {
        let statistics = stage.runtime.block_on(self.information("commandstats"));
        let (mut all, mut scripts) = (0, 0);
        for line in statistics.lines() {
            let Some((name, values)) = line.split_once(":calls=") else {
                continue;
            };
            let calls: u64 = values
                .split(',')
                .next()
                .map_or(0, |calls| calls.parse().expect("a number"));
            match name {
                "cmdstat_info" => continue, // these questions
                "cmdstat_evalsha" | "cmdstat_eval" | "cmdstat_fcall" => scripts += calls,
                _ => {}
            }
            all += calls;
        }
        (all, scripts)
    }

    /// Bytes that Redis has allocated.
    pub(crate) fn used_memory(&self, stage: &Stage) -> u64 {
        stage
            .runtime
            .block_on(self.number("memory", "used_memory:"))
    }

    pub(crate) fn keys(&self, stage: &Stage) -> u64 {
        stage.runtime.block_on(async {
            let mut connection = self.connection.clone();
            let size = redis::cmd("DBSIZE").query_async(&mut connection).await;
            size.expect("a number")
        })
    }

    async fn number(&self, section: &str, name: &str) -> u64 {
        let information = self.information(section).await;
        let value = information.lines().find_map(|line| line.strip_prefix(name));
        let value = value.expect("Redis tells it").trim();
        value.parse().expect("a number")
    }

    async fn information(&self, section: &str) -> String {
        let mut connection = self.connection.clone();
        let mut command = redis::cmd("INFO");
        let information = command.arg(section).query_async(&mut connection).await;
        information.expect("statistics")
    }
}
