//! What a child process has of the gateway's environment.

use std::{collections::BTreeMap, path::Path, time::Duration};

use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::process::{CONFIG, Process, run};

/// The environment that a child has written to `file`.
async fn written(file: &Path) -> BTreeMap<String, String> {
    let read = async {
        loop {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            if let Some(text) = text.strip_suffix("end\n") {
                let pairs = text.lines().filter_map(|line| line.split_once('='));
                return pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), read)
        .await
        .expect("it is started")
}

/// Each backend had the tokens of all others, and the gateway's own.
#[tokio::test]
async fn a_child_has_what_is_configured_and_no_secret_of_another() {
    let folder = TempDir::new().unwrap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    let child = |name: &str, rest: &str| {
        let file = folder.path().join(name);
        let script = format!("(env; echo end) > {}", file.display());
        format!("  - {{name: {name}, command: sh, args: ['-c', '{script}']{rest}}}\n")
    };
    let backends = format!(
        "backends:\n{}{}",
        child(
            "one",
            ", env: {OWN: value, LANG: xx}, inheritEnv: [ONE_TOKEN]"
        ),
        child("other", ""),
    );
    let yaml = CONFIG.replace("backends: []\n", &backends);
    let secrets = "export ONE_TOKEN=s3cret OTHER_TOKEN=s3cret AWS_SECRET_ACCESS_KEY=s3cret \
                   HTTPS_PROXY=http://me:s3cret@proxy HOME=/home/a LANG=C.UTF-8 TMPDIR=/tmp \
                   TERM=dumb USER=a LOGNAME=a SHELL=/bin/sh TZ=UTC";
    let process = Process::start(&yaml, secrets).await;
    let (one, other) = (written(&one).await, written(&other).await);
    process.stopped().await;

    // The shell has its own.
    let own = ["PWD", "OLDPWD", "SHLVL", "_"];
    let names = |env: &BTreeMap<String, String>| -> Vec<String> {
        let names = env.keys().filter(|name| !own.contains(&name.as_str()));
        names.cloned().collect()
    };
    let passed = [
        "HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER",
    ];
    assert_eq!(names(&other), passed);
    assert_eq!(other["HOME"], "/home/a");
    let mut expected = passed.to_vec();
    expected.extend(["ONE_TOKEN", "OWN"]);
    expected.sort_unstable();
    assert_eq!(names(&one), expected);
    assert_eq!(
        (one["LANG"].as_str(), one["ONE_TOKEN"].as_str()),
        ("xx", "s3cret")
    );
}

#[tokio::test]
async fn a_variable_that_is_to_be_inherited_must_be_set() {
    let backend = "backends: [{name: one, command: sh, inheritEnv: [NOT_SET_HERE]}]";
    let output = run(&CONFIG.replace("backends: []", backend), ":").await;
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(
        log.contains("backend one") && log.contains("NOT_SET_HERE"),
        "{log}"
    );
}
