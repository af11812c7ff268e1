//! The audit stream of a real limiter: who was denied, under a name that only the salt undoes.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::{fs, path::Path, process::Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::{io::AsyncReadExt as _, process::Command, time::timeout};
use tonic::transport::Endpoint;
use toolgate_proto::pb::{
    Decision, check_request::Operation, limiter_service_client::LimiterServiceClient,
};
use toolgate_tests::{Limiter, PATIENCE, PolicyFile, Process, eventually, of_user, toolgate};

const ONE_A_DAY: &str = "perUser: {maxTokens: 1, refillPeriod: 24h}";

fn salt(folder: &Path) -> String {
    let path = folder.join("salt");
    fs::write(&path, "correct horse battery\n").expect("written");
    path.display().to_string()
}

/// What `toolgate pseudonym` prints.
async fn pseudonym(salt: &str, of: [&str; 2]) -> String {
    let mut command = Command::new(toolgate().expect("built"));
    command.args(["pseudonym", "--salt-file", salt]).args(of);
    let output = timeout(PATIENCE, command.output()).await;
    let output = output.expect("in time").expect("run");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.trim_end().to_owned()
}

fn lines(text: &str) -> Vec<Value> {
    let line = |line| serde_json::from_str(line).expect("JSON");
    text.lines().map(line).collect()
}

/// A question of an operator: why was alice denied at 12:03?
#[tokio::test]
async fn a_denial_can_be_found_by_the_pseudonym_of_its_user() {
    let folder = tempfile::tempdir().expect("a folder");
    let (salt, file) = (salt(folder.path()), folder.path().join("audit.jsonl"));
    let audit = file.display().to_string();
    let arguments = ["--audit-to", &audit, "--audit-salt-file", &salt];
    let mut limiter = Limiter::of_spec(ONE_A_DAY, arguments)
        .await
        .expect("started");
    let uri = "file:///home/alice/tax.pdf";
    for (user, decision) in [
        ("alice", Decision::Allowed),
        ("bob", Decision::Allowed),
        ("alice", Decision::Denied),
    ] {
        let mut request = of_user(user);
        request.operation = Some(Operation::Resource(uri.to_owned()));
        let answer = limiter.check(request).await.expect("decided");
        assert_eq!(answer.decision(), decision, "{user}");
    }
    limiter.signal(Signal::SIGTERM).expect("sent");
    assert!(limiter.wait().await.expect("ended").success());

    let text = fs::read_to_string(&file).expect("written before the end");
    let lines = lines(&text);
    assert_eq!(lines.len(), 1, "{text}");
    let alice = pseudonym(&salt, ["--user", "alice"]).await;
    assert_eq!(lines[0]["subject"], alice);
    assert_eq!(lines[0]["server"], "test/server");
    assert_eq!(lines[0]["limit"]["scope"], "perUser");
    let resource = pseudonym(&salt, ["--resource", uri]).await;
    assert_eq!(lines[0]["operation"], format!("resource:{resource}"));
    assert!(lines[0]["retryAfterSeconds"].as_f64() > Some(86_000.0));
    assert!(!text.contains("alice"), "{text}");
    let log = limiter.log().expect("a log");
    assert!(!log.contains("alice"), "{log}");
}

#[tokio::test]
async fn standard_output_has_nothing_but_the_lines_if_they_go_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let salt = salt(folder.path());
    let policies = PolicyFile::of_spec(ONE_A_DAY).expect("written");
    let socket = folder.path().join("grpc.sock");
    let grpc = format!("unix://{}", socket.display());
    let mut command = Command::new(toolgate().expect("built"));
    command
        .args(["serve", "--audit-to", "stdout", "--audit-salt-file", &salt])
        .args(["--grpc-listen", &grpc, "--http-listen", "127.0.0.1:0"])
        .arg("--policies")
        .arg(policies.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut process = Process::start(&mut command).expect("started");
    eventually("the socket", async || socket.exists().then_some(())).await;
    let channel = Endpoint::from_shared(grpc).expect("valid").connect().await;
    let mut client = LimiterServiceClient::new(channel.expect("connected"));
    for _ in 0..3 {
        let reply = client.check(of_user("alice")).await;
        reply.expect("decided");
    }
    process.signal(Signal::SIGTERM).expect("sent");
    let mut text = String::new();
    let mut stdout = process.child().stdout.take().expect("piped");
    let read = timeout(PATIENCE, stdout.read_to_string(&mut text)).await;
    read.expect("in time").expect("read");
    let subjects: Vec<_> = lines(&text)
        .iter()
        .map(|line| line["subject"].clone())
        .collect();
    let alice = pseudonym(&salt, ["--user", "alice"]).await;
    assert_eq!(subjects, [alice.as_str(), &alice]);
}

#[tokio::test]
async fn an_audit_stream_without_its_salt_is_refused_at_the_start() {
    let policies = PolicyFile::of_spec(ONE_A_DAY).expect("written");
    let mut command = Command::new(toolgate().expect("built"));
    command
        .args(["serve", "--audit-to", "stdout", "--audit-salt-file"])
        .args(["/nowhere/salt", "--grpc-listen", "127.0.0.1:0"])
        .args(["--http-listen", "127.0.0.1:0", "--policies"])
        .arg(policies.path());
    let output = timeout(PATIENCE, command.output()).await;
    let output = output.expect("in time").expect("run");
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).expect("text");
    assert!(error.contains("audit.saltFile: /nowhere/salt"), "{error}");
}
