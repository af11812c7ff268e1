//! Puts the screen of `toolgate top` under load into a page: two limiters on one Redis, three loads of
//! `toolgate bench`. `make top-capture` does so with docs/observability.md.

use std::{process::Stdio, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    process::{Child, Command},
    time::sleep,
};
use toolgate_tests::{Limiter, PolicyFile, RedisServer, Terminal, toolgate};

const POLICIES: &str = "\
apiVersion: toolgate.dev/v1alpha1
kind: RateLimitPolicy
metadata: {namespace: default, name: research}
spec:
  global: {maxTokens: 20000, refillPeriod: 1m}
  perUser: {maxTokens: 1200, refillPeriod: 1m}
  tools:
    - name: search_0
      perUser: {maxTokens: 120, refillPeriod: 1m}
    - name: search_1
      global: {maxTokens: 600, refillPeriod: 1m}
---
apiVersion: toolgate.dev/v1alpha1
kind: RateLimitPolicy
metadata: {namespace: default, name: files}
spec:
  mode: Shadow
  perUser: {maxTokens: 60, refillPeriod: 1m}
";

/// What comes before the screen in the page.
const MARK: &str = "<!-- make top-capture -->\n```text\n";

/// So long the load is on before the picture is taken: rates of buckets look back 10 s.
const WARM_UP: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> Result<()> {
    let page = std::env::args().nth(1).context("name the page")?;
    let screen = screen().await?;
    let text = std::fs::read_to_string(&page)?;
    let (before, rest) = text.split_once(MARK).context("the page has no mark")?;
    let (_, after) = rest.split_once("```\n").context("the block has no end")?;
    Ok(std::fs::write(
        page,
        format!("{before}{MARK}{screen}```\n{after}"),
    )?)
}

async fn screen() -> Result<String> {
    let redis = RedisServer::start().await?;
    let policies = PolicyFile::new(POLICIES)?;
    let url = redis.url();
    let arguments = ["--store", &url, "--workers", "1"];
    let first = Limiter::start(&policies.path(), arguments).await?;
    let second = Limiter::start(&policies.path(), arguments).await?;
    let endpoints = format!("{},{}", first.endpoint(), second.endpoint());
    let loads = [
        load(&endpoints, "default/research", "400")?,
        load(&endpoints, "default/files", "60")?,
        load(&endpoints, "default/unlimited", "20")?,
    ];
    let mut command = Command::new(toolgate()?);
    command
        .args(["top", "--endpoint", &endpoints])
        .env("TERM", "xterm")
        .env("NO_COLOR", "1");
    let mut top = Terminal::start(&mut command, (80, 24))?;
    sleep(WARM_UP).await;
    let text = top.text();
    top.type_keys("q")?;
    top.wait().await?;
    drop(loads);
    let lines = text.lines().map(|line| format!("{}\n", line.trim_end()));
    Ok(lines.collect())
}

/// So many checks a second of a hundred agents, a few of which do most of it.
fn load(endpoints: &str, server: &str, rate: &str) -> Result<Child> {
    let users = [
        "--users",
        "100",
        "--user-prefix",
        "agent-",
        "--keys",
        "zipf:1.1",
    ];
    let tools = ["--tools", "4", "--tool-prefix", "search_"];
    Command::new(toolgate()?)
        .args(["bench", "--endpoint", endpoints, "--server", server])
        .args(users)
        .args(tools)
        .args(["--rate", rate, "--connections", "2", "--duration", "1m"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("it runs")
}
