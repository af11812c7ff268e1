//! Settings of the export that cannot be, told by name at the start.

use std::{io::Write as _, process::Stdio};
use tokio::{process::Command, time::timeout};
use toolgate_tests::PATIENCE;
use toolgate_tests::{PolicyFile, toolgate, vmcp};

const WRONG: [(&str, &str); 8] = [
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "udp"),
    ("OTEL_TRACES_EXPORTER", "jaeger"),
    ("OTEL_TRACES_SAMPLER", "sometimes"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
    ("OTEL_METRIC_EXPORT_INTERVAL", "1m"),
    ("OTEL_RESOURCE_ATTRIBUTES", "pod"),
    ("OTEL_SDK_DISABLED", "1"),
];

/// An endpoint that is right, so that all that belongs to the export is read.
const RIGHT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");

/// What `command` says as it refuses to start.
async fn refusal(mut command: Command) -> String {
    let command = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    let ended = timeout(PATIENCE, command.output()).await;
    let output = ended.expect("it ends").expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).expect("text")
}

#[tokio::test]
async fn a_variable_that_cannot_be_is_told_by_its_name() {
    let policies = PolicyFile::of_spec("global: {maxTokens: 1, refillPeriod: 1h}");
    let policies = policies.expect("a policy");
    let mut config = tempfile::NamedTempFile::new().expect("a file");
    let yaml = "{name: a, listen: '127.0.0.1:0', incomingAuth: {type: anonymous}, backends: []}";
    config.write_all(yaml.as_bytes()).expect("written");
    for (name, wrong) in WRONG {
        let mut limiter = Command::new(toolgate().expect("built"));
        limiter.args(["serve", "--policies"]).arg(policies.path());
        let mut gateway = Command::new(vmcp().expect("built"));
        gateway.args(["serve", "--config"]).arg(config.path());
        for mut command in [limiter, gateway] {
            command.envs([RIGHT]).env(name, wrong);
            let said = refusal(command).await;
            assert!(
                said.contains(&format!("{name}={wrong:?}: it must")),
                "{said}"
            );
        }
    }
}

#[tokio::test]
async fn a_setting_of_our_own_that_cannot_be_is_told_by_its_name() {
    let policies = PolicyFile::of_spec("global: {maxTokens: 1, refillPeriod: 1h}");
    let policies = policies.expect("a policy");
    let mut limiter = Command::new(toolgate().expect("built"));
    limiter
        .args(["serve", "--otlp-endpoint", "collector:4317", "--policies"])
        .arg(policies.path());
    let said = refusal(limiter).await;
    assert!(
        said.contains("otlp.endpoint=\"collector:4317\": "),
        "{said}"
    );
}
