//! The official SDKs for Python and TypeScript as clients, and a server from npm as the backend.
//!
//! `python3`, or what `TOOLGATE_TEST_PYTHON` names, must have the package `mcp`; `node` must find
//! `@modelcontextprotocol/client` by `NODE_PATH`; and the program `mcp-server-everything` of
//! `@modelcontextprotocol/server-everything` must be on the `PATH`.

use std::{process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};
use toolgate_tests::PATIENCE;

use crate::stage::Stage;

const SPEC: &str = "tools: [{name: every_echo, perUser: {maxTokens: 5, refillPeriod: 1m}}]";
const EVERYTHING: &str = ", {name: every, command: mcp-server-everything}";

/// A process in which an SDK is connected to each replica.
struct Sdk {
    child: Child,
    calls: ChildStdin,
    outcomes: Lines<BufReader<ChildStdout>>,
}

#[derive(Clone, Copy)]
enum Language {
    Python,
    TypeScript,
}

impl Sdk {
    fn start(language: Language, mode: &str, stage: &Stage, user: &str) -> Self {
        let (program, script) = match language {
            Language::Python => {
                let python = std::env::var("TOOLGATE_TEST_PYTHON");
                (python.unwrap_or_else(|_| "python3".to_owned()), "client.py")
            }
            Language::TypeScript => ("node".to_owned(), "client.mjs"),
        };
        let mut child = Command::new(program)
            .arg(format!("{}/sdk/{script}", env!("CARGO_MANIFEST_DIR")))
            .arg(mode)
            .args(stage.replicas.each_ref().map(|replica| &replica.url))
            .arg(stage.issuer.token(user))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the SDK's language is installed");
        let stdout = child.stdout.take().expect("piped");
        Self {
            calls: child.stdin.take().expect("piped"),
            outcomes: BufReader::new(stdout).lines(),
            child,
        }
    }

    /// What came of a call of the tool through one replica: what the SDK returned or raised.
    async fn echo(&mut self, replica: usize) -> Value {
        let call = format!("{}\n", json!([replica, "every_echo", {"message": "hi"}]));
        // A process that has ended says below why it did.
        let _ = self.calls.write_all(call.as_bytes()).await;
        let outcome = timeout(PATIENCE, self.outcomes.next_line()).await;
        let Some(outcome) = outcome.expect("an answer").expect("readable") else {
            let mut why = String::new();
            let stderr = self.child.stderr.as_mut().expect("piped");
            let _ = stderr.read_to_string(&mut why).await;
            panic!("the SDK has ended: {why}");
        };
        serde_json::from_str(&outcome).expect("JSON")
    }
}

/// Alice calls alternately through both replicas until she is denied, and again after the wait that
/// the SDK has been told; bob calls meanwhile.
async fn is_limited_across_replicas(language: Language, mode: &str, code: i32) {
    let mut stage = Stage::start(SPEC, EVERYTHING, "").await;
    for replica in stage.callers("nobody") {
        replica.until_listed("every_echo").await;
    }
    let mut alice = Sdk::start(language, mode, &stage, "alice");
    let mut bob = Sdk::start(language, mode, &stage, "bob");
    let passed = json!({"isError": false});
    for turn in 0..5 {
        assert_eq!(alice.echo(turn % 2).await, passed);
    }
    let denied = alice.echo(1).await;
    assert_eq!(denied["code"], json!(code), "{denied}");
    let message = denied["message"].as_str().expect("a message");
    assert!(
        message.contains("5 calls per 1m per user of tool every_echo"),
        "{message}"
    );
    assert_eq!(denied["data"]["limitType"], "perUser");
    assert_eq!(denied["data"]["scope"], "tool");
    assert_eq!(denied["data"]["name"], "every_echo");
    let wait = denied["data"]["retryAfterSeconds"].as_f64();
    let wait = Duration::from_secs_f64(wait.expect("seconds"));
    // A fifth of a minute: the clock stands still.
    assert_eq!(wait, Duration::from_secs(12));
    for turn in 0..5 {
        assert_eq!(bob.echo(turn % 2).await, passed);
    }

    stage.wait(wait.saturating_sub(Duration::from_micros(1)));
    assert_eq!(alice.echo(0).await["code"], json!(code));
    stage.wait(Duration::from_micros(1));
    assert_eq!(alice.echo(0).await, passed);
    assert_eq!(alice.echo(1).await["code"], json!(code));
}

#[tokio::test]
async fn a_python_client_that_initializes_reads_the_denial_and_passes_after_its_wait() {
    is_limited_across_replicas(Language::Python, "legacy", -32029).await;
}

#[tokio::test]
async fn a_python_client_of_protocol_2026_07_28_does_too() {
    is_limited_across_replicas(Language::Python, "2026-07-28", 429).await;
}

#[tokio::test]
async fn a_typescript_client_that_initializes_does_too() {
    is_limited_across_replicas(Language::TypeScript, "legacy", -32029).await;
}

#[tokio::test]
async fn a_typescript_client_of_protocol_2026_07_28_does_too() {
    is_limited_across_replicas(Language::TypeScript, "2026-07-28", 429).await;
}
