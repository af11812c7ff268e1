//! The first five minutes with Toolgate: the commands of the README, as a newcomer runs them.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::{
    path::{Path, PathBuf},
    process::Output,
};

use tokio::process::Command;
use toolgate_tests::{Limiter, toolgate};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples")
        .join(name)
}

async fn quickstart() -> Limiter {
    let limiter = Limiter::start(&example("quickstart.yaml"), [""; 0]).await;
    limiter.expect("the quickstart serves")
}

async fn run(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output().await;
    output.expect("the program is there")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

#[tokio::test]
async fn check_is_allowed_first_and_then_denied_with_exit_code_three() {
    let limiter = quickstart().await;
    let check = async |count| {
        let arguments = [
            &["check", "default/research", "--user", "alice"][..],
            &[
                "--tool",
                "github_search",
                "--endpoint",
                limiter.endpoint(),
                "-n",
                count,
            ],
        ]
        .concat();
        run(toolgate().expect("built"), &arguments).await
    };
    let first = check("3").await;
    assert_eq!(first.status.code(), Some(0), "{}", stdout(&first));
    let second = check("2").await;
    assert_eq!(second.status.code(), Some(3));
    assert!(
        stdout(&second).contains("0 allowed, 2 denied"),
        "{}",
        stdout(&second)
    );
}

#[tokio::test]
async fn validate_takes_the_examples_and_refuses_each_fixture_with_a_place_and_a_caret() {
    let toolgate = toolgate().expect("built");
    for name in ["quickstart.yaml", "toolhive-virtualmcpserver.yaml"] {
        let path = example(name);
        let output = run(toolgate, &["validate", path.to_str().expect("UTF-8")]).await;
        assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
        assert_eq!(stdout(&output), "valid: 1 policy\n");
    }

    let invalid = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/manifests/invalid");
    let fixtures = std::fs::read_dir(&invalid).expect("fixtures");
    let mut count = 0;
    for fixture in fixtures {
        let path = fixture.expect("a fixture").path();
        let path = path.to_str().expect("UTF-8");
        let output = run(toolgate, &["validate", path]).await;
        assert_eq!(output.status.code(), Some(1), "{path}");
        let text = stdout(&output);
        let first = text.lines().next().expect("a finding");
        let place = first.strip_prefix(path).expect("the file comes first");
        let [_, line, column, rest] = place
            .splitn(4, ':')
            .collect::<Vec<_>>()
            .try_into()
            .expect("file:line:column: text");
        assert!(
            line.parse::<u32>().is_ok() && column.parse::<u32>().is_ok(),
            "{first}"
        );
        assert!(
            rest.starts_with(" error: ") || rest.starts_with(" warning: "),
            "{first}"
        );
        assert!(
            text.lines().any(|line| line.trim_end().ends_with('^')),
            "{text}"
        );
        count += 1;
    }
    assert!(count >= 40, "only {count} fixtures");
}

#[tokio::test]
async fn validate_accepts_toolhive_s_deprecated_name_with_a_warning() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("vmcp.yaml");
    let text = std::fs::read_to_string(example("toolhive-virtualmcpserver.yaml")).expect("text");
    let shared = "    rateLimiting:\n      shared: {maxTokens: 1000, refillPeriod: 1m0s}\n";
    std::fs::write(&path, text.replace("    rateLimiting:\n", shared)).expect("written");
    let toolgate = toolgate().expect("built");
    let output = run(toolgate, &["validate", path.to_str().expect("UTF-8")]).await;
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    assert!(
        text.contains("warning: ") && text.contains("deprecated"),
        "{text}"
    );
    assert!(text.ends_with("valid: 1 policy, 1 warning\n"), "{text}");
}

#[cfg(feature = "grpcurl")]
#[tokio::test]
async fn grpcurl_lists_the_services_and_gets_allowed_and_then_denied() {
    let limiter = quickstart().await;
    let address = limiter.endpoint().strip_prefix("http://").expect("TCP");
    let list = run("grpcurl", &["-plaintext", address, "list"]).await;
    assert_eq!(
        stdout(&list).lines().collect::<Vec<_>>(),
        [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
            "toolgate.v1.AdminService",
            "toolgate.v1.LimiterService",
        ]
    );
    let call = r#"{"server": "default/research", "identity": {"subject": "alice"}, "tool": "github_search"}"#;
    let check = async || {
        let method = "toolgate.v1.LimiterService/Check";
        let output = run("grpcurl", &["-plaintext", "-d", call, address, method]).await;
        serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("a reply")
    };
    for _ in 0..3 {
        assert_eq!(check().await["decision"], "DECISION_ALLOWED");
    }
    let denied = check().await;
    assert_eq!(denied["decision"], "DECISION_DENIED");
    let wait = denied["denial"]["retryAfter"].as_str().expect("a wait");
    assert!(wait.ends_with('s'), "{wait}");
    let invalid = [
        "-plaintext",
        "-H",
        "x-request-id: mine",
        "-d",
        r#"{"server": "x"}"#,
    ];
    let method = "toolgate.v1.LimiterService/Check";
    let output = run("grpcurl", &[&invalid[..], &[address, method]].concat()).await;
    let error = String::from_utf8(output.stderr).expect("text");
    for part in ["fieldViolations", "namespace/name", "requestId", "mine"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    let health = run(
        "grpcurl",
        &["-plaintext", address, "grpc.health.v1.Health/Check"],
    )
    .await;
    assert!(stdout(&health).contains("SERVING"));
}
