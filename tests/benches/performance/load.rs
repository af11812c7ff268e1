//! `toolgate bench` as a process, and what the others spend meanwhile.

use std::{process::Command, time::Duration};

use serde_json::Value;
use toolgate_tests::toolgate;

use crate::{
    cpu,
    policies::SERVER,
    stage::{Redis, Served, Stage},
    table::Figures,
};

/// Who is asked, and what stands behind them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) servers: &'a [Served],
    pub(crate) redis: Option<&'a Redis>,
}

/// The names of the figures.
pub(crate) const RATE: &str = "rate";
pub(crate) const SERVER_CPU: &str = "server";
pub(crate) const REDIS_CPU: &str = "redis";
pub(crate) const CLIENT_CPU: &str = "client";
pub(crate) const P50: &str = "p50";
pub(crate) const P99: &str = "p99";
pub(crate) const P999: &str = "p999";
/// Checks in each call of the script.
pub(crate) const BATCH: &str = "batch";
/// Commands that Redis ran for each check, those within the script too.
pub(crate) const COMMANDS: &str = "commands";
/// How late checks went, of 99 in 100; only at a rate.
pub(crate) const BEHIND: &str = "behind";

/// Puts on the load of `arguments`; times are microseconds, CPU is for each check. The warm-up's
/// checks are in the CPU's account on both sides.
pub(crate) fn run(stage: &Stage, target: Target<'_>, arguments: &[&str]) -> Figures {
    let spent = || -> Duration {
        target
            .servers
            .iter()
            .map(|server| cpu::of(server.pid))
            .sum()
    };
    let redis_spent = || target.redis.map(|redis| cpu::of(redis.pid));
    let calls = || target.redis.map(|redis| redis.calls(stage));
    let (calls_before, before, redis_before) = (calls(), spent(), redis_spent());
    // As gateways ask.
    let report = report(target.servers, &[arguments, &["--omit-buckets"]].concat());
    let (after, redis_after, calls_after) = (spent(), redis_spent(), calls());

    let answered = |which: &str| number(&report, &format!("/{which}/answered"));
    let checks = answered("checks") + answered("warmUpChecks");
    let failed = number(&report, "/checks/sent") - answered("checks");
    if failed > 0.0 {
        // The figures are those of the others.
        eprintln!("{failed} checks have failed: {}", report["checks"]);
    }
    let each = |before: Duration, after: Duration| {
        after.saturating_sub(before).as_secs_f64() * 1e6 / checks
    };
    let mut figures = Figures::from([
        (RATE, number(&report, "/checksPerSecond")),
        (SERVER_CPU, each(before, after)),
        (CLIENT_CPU, number(&report, "/generatorCpuMicrosPerCheck")),
        (P50, number(&report, "/latencyMicros/p50")),
        (P99, number(&report, "/latencyMicros/p99")),
        (P999, number(&report, "/latencyMicros/p999")),
    ]);
    if let Some(behind) = report.pointer("/behind/p99Micros").and_then(Value::as_f64) {
        figures.insert(BEHIND, behind);
    }
    if let (Some(before), Some(after)) = (redis_before, redis_after) {
        figures.insert(REDIS_CPU, each(before, after));
    }
    if let (Some(before), Some(after)) = (calls_before, calls_after) {
        #[allow(clippy::cast_precision_loss, reason = "figures of a few digits")]
        let (all, scripts) = ((after.0 - before.0) as f64, (after.1 - before.1) as f64);
        figures.insert(COMMANDS, all / checks);
        figures.insert(BATCH, checks / scripts);
    }
    figures
}

/// The report of one run.
pub(crate) fn report(servers: &[Served], arguments: &[&str]) -> Value {
    let endpoints: Vec<_> = servers
        .iter()
        .map(|server| server.endpoint.as_str())
        .collect();
    let output = Command::new(toolgate().expect("it builds"))
        .args([
            "bench",
            "--output",
            "json",
            "--server",
            SERVER,
            "--timeout",
            "10s",
        ])
        .args(["--endpoint", &endpoints.join(",")])
        .args(arguments)
        .output()
        .expect("it runs");
    let told = || String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "toolgate bench {arguments:?}: {}{}",
        told(),
        String::from_utf8_lossy(&output.stdout)
    );
    serde_json::from_slice(&output.stdout).expect("a report")
}

pub(crate) fn number(report: &Value, path: &str) -> f64 {
    let found = report.pointer(path).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("{path} in {report}"))
}
