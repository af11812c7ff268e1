//! Files of authorities that hold none are errors at the start, which name setting and file.

use std::path::Path;

use toolgate_tests::{Authority, Limiter, PolicyFile, toolgate};

use crate::stage::TEN_A_DAY;

/// Why a limiter with these lines of settings does not start.
async fn refused(authority: &Authority, config: &str) -> String {
    let policies = PolicyFile::of_spec(TEN_A_DAY).expect("policies");
    let config = authority.write("config.yaml", config);
    let arguments = ["--config", config.to_str().expect("UTF-8")];
    let started = Limiter::start(&policies.path(), arguments).await;
    started.expect_err("it is refused").to_string()
}

/// A key in place of an authority passed, and each handshake failed.
#[tokio::test]
async fn a_limiter_does_not_start_with_a_key_or_a_leaf_for_an_authority() {
    let authority = Authority::new();
    let credentials = authority.credentials(&["localhost"]);
    let (leaf, key) = authority.write_credentials("server", &credentials);
    let empty = authority.write("empty.crt", "");
    for wrong in [&leaf, &key, &empty, Path::new("/nowhere/ca.crt")] {
        let file = wrong.display();
        let redis = format!("store: rediss://127.0.0.1:1\nredis: {{tls: {{caFile: {file}}}}}\n");
        let callers = format!(
            "grpcTls: {{certificate: {}, key: {}, clientCa: {file}}}\n",
            leaf.display(),
            key.display(),
        );
        for (setting, config) in [("redis.tls.caFile", redis), ("", callers)] {
            let error = refused(&authority, &config).await;
            let name = wrong.file_name().and_then(|name| name.to_str());
            assert!(error.contains(name.expect("a name")), "{error}");
            assert!(error.contains(setting), "{error}");
        }
    }
}

#[test]
fn a_command_does_not_ask_with_a_key_for_an_authority() {
    let authority = Authority::new();
    let credentials = authority.credentials(&["localhost"]);
    let (leaf, key) = authority.write_credentials("server", &credentials);
    for wrong in [leaf, key] {
        let output = std::process::Command::new(toolgate().expect("built"))
            .args([
                "check",
                "test/server",
                "--endpoint",
                "https://localhost:1",
                "--tls-ca",
            ])
            .arg(&wrong)
            .output()
            .expect("run");
        let error = String::from_utf8_lossy(&output.stderr);
        let file = wrong.display().to_string();
        assert!(
            error.contains("--tls-ca") && error.contains(&file),
            "{error}"
        );
    }
}
