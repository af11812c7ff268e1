//! Two replicas on one Redis, and ways to look at them.

use std::process::Output;

use serde_json::Value;
use tokio::process::Command;
use toolgate_tests::{Limiter, PolicyFile, RedisServer, toolgate};

/// Five a day for each user, and no bound that anybody reaches for all of them.
pub(crate) const FIVE_A_DAY: &str = "global: {maxTokens: 2147483647, refillPeriod: 1s}, \
    tools: [{name: tool-0, perUser: {maxTokens: 5, refillPeriod: 24h}}]";

/// Limiters that share a Redis.
pub(crate) struct Stage {
    pub(crate) redis: RedisServer,
    pub(crate) limiters: Vec<Limiter>,
    pub(crate) policies: PolicyFile,
}

impl Stage {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let redis = RedisServer::start().await.expect("Redis");
        let policies = PolicyFile::of_spec(FIVE_A_DAY).expect("policies");
        let url = redis.url();
        let arguments = [&["--store", &url, "--store-timeout", "20s"][..], arguments].concat();
        let mut limiters = Vec::new();
        for _ in 0..2 {
            let limiter = Limiter::start(&policies.path(), &arguments).await;
            limiters.push(limiter.expect("a limiter"));
        }
        Self {
            redis,
            limiters,
            policies,
        }
    }

    /// As `--endpoint` takes them.
    pub(crate) fn endpoints(&self) -> String {
        let endpoints = self.limiters.iter().map(Limiter::endpoint);
        endpoints.collect::<Vec<_>>().join(",")
    }
}

/// The program with these arguments, and no settings from the test's own environment.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(toolgate().expect("a binary"));
    command
        .env_remove("TOOLGATE_ENDPOINT")
        .env_remove("NO_COLOR")
        .env("TERM", "xterm-256color")
        .args(arguments);
    command
}

/// `toolgate top --once` with more arguments.
pub(crate) async fn once(endpoints: &str, arguments: &[&str]) -> Output {
    let mut command = command(&["top", "--once", "--endpoint", endpoints]);
    command.args(["--interval", "300ms"]).args(arguments);
    command.output().await.expect("it runs")
}

/// The same for scripts.
pub(crate) async fn seen(endpoints: &str) -> Value {
    let output = once(endpoints, &["--output", "json", "--timeout", "30s"]).await;
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// The report of `toolgate bench` on all of `endpoints`.
pub(crate) async fn bench(endpoints: &str, arguments: &[&str]) -> Value {
    let mut command = command(&["bench", "--endpoint", endpoints, "--server", "test/server"]);
    command.args(["--timeout", "30s", "--warm-up", "0s", "--output", "json"]);
    let output = command.args(arguments).output().await.expect("it runs");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

pub(crate) fn number(of: &Value, path: &str) -> u64 {
    let found = of.pointer(path).and_then(Value::as_u64);
    found.unwrap_or_else(|| panic!("{path} in {of}"))
}

pub(crate) fn rate(of: &Value, path: &str) -> f64 {
    let found = of.pointer(path).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("{path} in {of}"))
}

/// The states of all replicas.
pub(crate) fn states(seen: &Value) -> Vec<&str> {
    let replicas = seen["replicas"].as_array().expect("replicas");
    let states = replicas.iter().map(|it| it["state"].as_str());
    states.map(|state| state.expect("a state")).collect()
}
