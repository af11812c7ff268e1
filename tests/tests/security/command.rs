//! The commands that docs/security.md shows.

use std::process::Output;

use tokio::process::Command;

use crate::stage::Stage;

const CALLERS: &str = "callers:\n\
    - {san: gateway.svc, servers: [\"test/*\"]}\n\
    - {san: ops.svc, admin: true}\n";

struct Caller {
    stage: Stage,
    name: &'static str,
}

impl Caller {
    async fn named(name: &'static str) -> Self {
        let stage = Stage::start(CALLERS, &[]).await;
        let identity = stage.authority.credentials(&[name]);
        stage.authority.write_credentials(name, &identity);
        Self { stage, name }
    }

    async fn toolgate(&self, arguments: &[&str]) -> Output {
        let file = |name: &str| self.stage.authority.path(name);
        let output = Command::new(toolgate_tests::toolgate().expect("built"))
            .args(arguments)
            .args(["--endpoint", &self.stage.url(), "--timeout", "30s"])
            .env("TOOLGATE_TLS_CA", file("ca.crt"))
            .env(
                "TOOLGATE_TLS_CERTIFICATE",
                file(&format!("{}.crt", self.name)),
            )
            .env("TOOLGATE_TLS_KEY", file(&format!("{}.key", self.name)))
            .output();
        output.await.expect("it runs")
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

#[tokio::test]
async fn the_toolgate_command_shows_its_certificate() {
    let gateway = Caller::named("gateway.svc").await;
    let checked = gateway
        .toolgate(&["check", "test/server", "--user", "alice"])
        .await;
    assert!(checked.status.success(), "{}", said(&checked));
    let refused = gateway.toolgate(&["buckets", "test/server"]).await;
    assert!(
        said(&refused).contains("PERMISSION_DENIED"),
        "{}",
        said(&refused)
    );

    let refused = gateway.toolgate(&["top", "--once"]).await;
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));

    let ops = Caller::named("ops.svc").await;
    let shown = ops.toolgate(&["policies"]).await;
    assert!(said(&shown).contains("test/server"), "{}", said(&shown));
    let activity = ops.toolgate(&["top", "--once"]).await;
    assert!(
        said(&activity).contains("1 replica: 1 serving"),
        "{}",
        said(&activity)
    );
    let refused = ops
        .toolgate(&["check", "test/server", "--user", "alice"])
        .await;
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
}

#[tokio::test]
async fn the_toolgate_command_says_which_file_it_needs() {
    let output = Command::new(toolgate_tests::toolgate().expect("built"))
        .args(["check", "test/server", "--endpoint", "https://localhost:1"])
        .output()
        .await
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("--tls-ca"), "{}", said(&output));
}

#[cfg(feature = "grpcurl")]
#[tokio::test]
async fn grpcurl_shows_a_certificate() {
    let gateway = Caller::named("gateway.svc").await;
    let file = |name: &str| gateway.stage.authority.path(name);
    let output = Command::new("grpcurl")
        .arg("-cacert")
        .arg(file("ca.crt"))
        .arg("-cert")
        .arg(file("gateway.svc.crt"))
        .arg("-key")
        .arg(file("gateway.svc.key"))
        .args([
            "-d",
            r#"{"server": "test/server", "identity": {"subject": "bob"}}"#,
        ])
        .arg(gateway.stage.authority_of_url())
        .arg("toolgate.v1.LimiterService/Check")
        .output()
        .await
        .expect("it runs");
    assert!(
        said(&output).contains("DECISION_ALLOWED"),
        "{}",
        said(&output)
    );
}
