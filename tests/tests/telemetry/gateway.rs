//! A `vmcp serve` process, and somebody who calls its tools.

use std::{io::Write as _, process::Stdio};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::{process::Command, time::timeout};
use toolgate_tests::{PATIENCE, Process, counting_backend, eventually, vmcp};

/// A gateway of server `test/server` before the backend `a`, which has the tools `a_echo` and
/// `a_reverse` and the resource `file:///greeting`.
pub(crate) struct Gateway {
    process: Process,
    url: String,
    http: reqwest::Client,
    log: NamedTempFile,
    _config: NamedTempFile,
    _backend: Process,
}

impl Gateway {
    /// A gateway that is ready, for everybody; `rest` is more YAML, and `variables` its environment.
    pub(crate) async fn start(rest: &str, variables: &[(&str, &str)]) -> Self {
        let rest = format!("incomingAuth: {{type: anonymous}}\n{rest}");
        Self::start_for(&rest, variables).await
    }

    /// As [`Gateway::start`], for those that `rest` names.
    pub(crate) async fn start_for(rest: &str, variables: &[(&str, &str)]) -> Self {
        let (backend, backend_url) = start_backend().await;
        let mut config = NamedTempFile::new().expect("a file");
        let yaml = format!(
            "
name: server
namespace: test
listen: 127.0.0.1:0
backends: [{{name: a, url: '{backend_url}'}}]
{rest}"
        );
        config.write_all(yaml.as_bytes()).expect("written");
        let log = NamedTempFile::new().expect("a file");
        let mut command = Command::new(vmcp().expect("built"));
        command
            .args(["serve", "--log-format", "json", "--config"])
            .arg(config.path())
            .env_remove("RUST_LOG")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(log.reopen().expect("a file"));
        let mut process = Process::start(&mut command).expect("a gateway");
        let greeting = process.greeting().await.expect("a greeting");
        let Some((_, url)) = greeting.rsplit_once(' ') else {
            let log = std::fs::read_to_string(log.path());
            panic!("vmcp serve did not start: {}", log.unwrap_or_default());
        };
        let gateway = Self {
            url: url.to_owned(),
            process,
            http: http(),
            log,
            _config: config,
            _backend: backend,
        };
        eventually("the gateway is ready", async || {
            let answer = gateway.get("/readyz").await;
            answer.ok()?.status().is_success().then_some(())
        })
        .await;
        gateway
    }

    /// Calls a tool; the answer with its headers.
    pub(crate) async fn call(&self, tool: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        let params = json!({"name": tool, "arguments": {"text": "hello"}});
        self.ask("tools/call", &params, headers).await
    }

    /// Makes a request.
    pub(crate) async fn ask(
        &self,
        method: &str,
        params: &Value,
        headers: &[(&str, &str)],
    ) -> reqwest::Response {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut request = self
            .http
            .post(&self.url)
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-03-26")
            .json(&body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("an answer")
    }

    /// What `/metrics` shows.
    pub(crate) async fn scrape(&self) -> String {
        let answer = self.get("/metrics").await;
        let answer = answer.expect("an answer");
        answer.text().await.expect("text")
    }

    /// The answer to `GET path`.
    pub(crate) async fn get(&self, path: &str) -> reqwest::Result<reqwest::Response> {
        let url = self.url.replace("/mcp", path);
        self.http.get(url).send().await
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).expect("a log")
    }

    /// Tells it to stop, and waits until it has; what it has logged.
    pub(crate) async fn stop(mut self) -> String {
        self.process.signal(Signal::SIGTERM).expect("told");
        let ended = timeout(PATIENCE, self.process.child().wait()).await;
        let status = ended.expect("it ends").expect("a status");
        assert!(status.success(), "{status}: {}", self.log());
        self.log()
    }
}

/// A client without a proxy.
pub(crate) fn http() -> reqwest::Client {
    // An error means that another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy();
    client.build().expect("a client")
}

async fn start_backend() -> (Process, String) {
    let mut command = Command::new(counting_backend().expect("built"));
    command.arg("127.0.0.1:0").stdout(Stdio::piped());
    let mut process = Process::start(&mut command).expect("a backend");
    let url = process.greeting().await.expect("a greeting");
    (process, url)
}
