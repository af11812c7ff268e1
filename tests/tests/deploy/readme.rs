//! `deploy/README.md`, as a newcomer follows it from top to bottom: each command is run, in this order,
//! against a control plane of Kubernetes, and says what the page shows.
//!
//! helm, kubectl, grpcurl, curl and toolgate are run as they stand. There are no nodes: this machine
//! runs one pod of each Deployment that a command needs ([`Pod`]), on a network of the test's own, where
//! each port is that of the page. What only nodes and registries can do is looked up:
//!
//! | command | here |
//! |---|---|
//! | `kubectl rollout status`, `exec`, `logs` | the pod starts, with its probes, and the rest is done with it |
//! | `kubectl port-forward` | the Service has the port, and its pod listens there |
//! | `make images` | the commands that it would run name what the Dockerfile has |
//! | `docker compose` | the file and its services exist; `compose.rs` runs them |
//!
//! A command of any other kind fails the test.

use std::{collections::BTreeMap, fs, process::Stdio};

use tokio::{process::Command, time::timeout};
use toolgate_tests::{
    ControlPlane, PATIENCE, Process, RedisServer, eventually, foreign_crd, network_of_its_own,
    toolgate,
};

use crate::{pod::Pod, repository, text};
use blocks::{Part, parts};
use output::fits;

mod blocks;
mod output;

#[tokio::test]
async fn a_newcomer_gets_from_nothing_to_a_denied_call_and_back() {
    network_of_its_own().expect("a network");
    let mut newcomer = Newcomer::new().await;
    let page = text("deploy/README.md");
    let mut commands = 0;
    for part in parts(&page) {
        match part {
            Part::File { name, text } => {
                fs::write(newcomer.folder.path().join(&name), text).expect(&name);
            }
            Part::Command { line, output } => {
                println!("$ {line}"); // for whoever reads of a failure
                newcomer.follow(&line, &output).await;
                commands += 1;
            }
        }
    }
    assert!(commands >= 30, "only {commands} commands");
}

/// Who follows the page, in a folder that looks like the repository, and what there is by now.
struct Newcomer {
    plane: ControlPlane,
    folder: tempfile::TempDir,
    /// By namespace and Deployment.
    pods: BTreeMap<(String, String), Pod>,
    /// What the page takes for granted: a Redis, and the backend that Kubernetes would run.
    _redis: RedisServer,
    _backend: Process,
}

/// What a command has said, and whether it says that all is well.
struct Said {
    text: String,
    code: Option<i32>,
}

impl Newcomer {
    async fn new() -> Self {
        let plane = ControlPlane::start().await.expect("a control plane");
        // A cluster with ToolHive in it.
        for kind in ["virtualmcpservers", "mcpservers"] {
            let crd = foreign_crd(&format!("toolhive.stacklok.dev_{kind}.yaml"));
            let crd = crd.expect("ToolHive's CRD");
            plane.install_crds(&crd).await.expect("installed");
        }
        let folder = tempfile::tempdir().expect("a folder");
        for entry in ["deploy", "examples", "crates", "Makefile", "Dockerfile"] {
            let here = folder.path().join(entry);
            let there = repository(entry).canonicalize().expect(entry);
            std::os::unix::fs::symlink(there, here).expect(entry);
        }
        let redis = ["--port", "6379", "--bind", "127.0.0.1"];
        let mut backend = Command::new("mcp-server-everything");
        backend.arg("streamableHttp").env("PORT", "3001");
        Self {
            plane,
            folder,
            pods: BTreeMap::new(),
            _redis: RedisServer::start_with(&redis, None).await.expect("Redis"),
            _backend: Process::start(&mut backend).expect("the reference server"),
        }
    }

    /// Does what the page says, and sees what it shows.
    async fn follow(&mut self, line: &str, shown: &str) {
        let words: Vec<_> = line.split_whitespace().collect();
        let said = match words.as_slice() {
            ["make", "images", ..] => self.would_make_images(line).await,
            ["docker", "compose", rest @ ..] => look_up_in_compose(rest),
            ["kubectl", "rollout", "status", deployment, ..] => {
                self.pod(namespace(&words), deployment).await;
                return;
            }
            ["kubectl", "logs", .., deployment] => {
                let pod = self.pod(namespace(&words), deployment).await;
                let log = pod.container(None).log().expect("a log");
                assert!(!log.is_empty());
                return;
            }
            ["kubectl", "exec", ..] => self.exec(line).await,
            ["kubectl", "port-forward", ..] => {
                self.port_forward(&words).await;
                return;
            }
            ["helm" | "kubectl" | "toolgate" | "grpcurl" | "curl", ..] => self.run(line).await,
            ["for", .., "done"] if line.contains("curl") => self.run(line).await,
            _ => panic!("nobody knows how to check {line:?}"),
        };
        // What controllers do takes them a moment.
        let mut said = said;
        if words.starts_with(&["kubectl", "get"]) && !shown.is_empty() && !fits(shown, &said.text) {
            let this = &*self;
            let ask = async || Some(this.run(line).await).filter(|said| fits(shown, &said.text));
            said = eventually(&format!("what the page shows of {line:?}"), ask).await;
        }
        let Said { text, code } = said;
        assert_eq!(code, Some(promised(shown)), "{line}\n{text}");
        assert!(
            shown.is_empty() || fits(shown, &text),
            "{line}\nsays\n{text}\nand the page shows\n{shown}"
        );
    }

    /// Runs it in a shell.
    async fn run(&self, line: &str) -> Said {
        let mut command = Command::new("bash");
        let toolgate = toolgate().expect("built").parent().expect("a folder");
        let path = std::env::var("PATH").expect("a PATH");
        command
            .args(["-c", line])
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", toolgate.display()))
            .env("KUBECONFIG", self.plane.kubeconfig())
            .env("HOME", self.folder.path())
            .env("REGISTRY", "registry.test")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = timeout(PATIENCE * 2, command.output()).await;
        let output = output.unwrap_or_else(|_| panic!("{line} does not end"));
        said(&output.expect("bash"))
    }

    /// The pod of `deployment/NAME`, of the manifest that is in force.
    async fn pod(&mut self, namespace: &str, deployment: &str) -> &Pod {
        let name = deployment
            .strip_prefix("deployment/")
            .expect("deployment/NAME");
        let key = (namespace.to_owned(), name.to_owned());
        let is_current = match self.pods.get(&key) {
            Some(pod) => pod.is_current(&self.plane, namespace, name).await,
            None => false,
        };
        if !is_current {
            // Its ports are needed.
            self.pods.remove(&key);
            let pod = Pod::start(&self.plane, namespace, name).await;
            self.pods.insert(key.clone(), pod);
        }
        &self.pods[&key]
    }

    async fn exec(&mut self, line: &str) -> Said {
        let (kubectl, command) = line.split_once(" -- ").expect("a command after --");
        let words: Vec<_> = kubectl.split_whitespace().collect();
        let deployment = words.iter().find(|word| word.starts_with("deployment/"));
        let pod = self.pod(namespace(&words), deployment.expect("a Deployment"));
        let container = pod.await.container(None);
        let command: Vec<_> = command.split_whitespace().collect();
        if let ["toolgate", "check", server, ..] = command[..] {
            // What has just been applied comes into force within a second.
            let peek = ["peek", server, "--output", "json"];
            eventually(server, async || {
                let peek = container.exec_program(&peek).await.ok()?;
                let answer: serde_json::Value = serde_json::from_slice(&peek.stdout).ok()?;
                let is_limited = answer["check"]["buckets"]
                    .as_array()
                    .is_some_and(|all| !all.is_empty());
                is_limited.then_some(())
            })
            .await;
        }
        said(&container.exec(&command).await.expect("it runs"))
    }

    async fn port_forward(&mut self, words: &[&str]) {
        let service = words.iter().find_map(|word| word.strip_prefix("service/"));
        let service = service.expect("a Service");
        let (here, there) = words[words.len() - 1].split_once(':').expect("two ports");
        assert_eq!(here, there, "other ports are not known here");
        let namespace = namespace(words);
        let target = self
            .run(&format!(
                "kubectl get service {service} -n {namespace} -o jsonpath='{{.spec.ports[?(@.port=={there})].targetPort}}'"
            ))
            .await;
        assert!(!target.text.is_empty(), "{service} has no port {there}");
        self.pod(namespace, &format!("deployment/{service}")).await;
        let address = format!("127.0.0.1:{there}");
        eventually(&address, async || {
            tokio::net::TcpStream::connect(&address).await.ok()
        })
        .await;
    }

    async fn would_make_images(&self, line: &str) -> Said {
        let said = self
            .run(&line.replacen("make ", "make --dry-run ", 1))
            .await;
        let stages = text("Dockerfile");
        let mut targets = 0;
        for rest in said.text.split("--target ").skip(1) {
            let target = rest.split_whitespace().next().expect("a target");
            assert!(stages.contains(&format!(" AS {target}\n")), "{target}");
            targets += 1;
        }
        assert_eq!(targets, 2, "{}", said.text);
        assert!(!line.contains("PREFIX") || said.text.contains("registry.test/toolgate/vmcp:"));
        said
    }
}

fn said(output: &std::process::Output) -> Said {
    let streams = [&output.stdout, &output.stderr].map(|stream| String::from_utf8_lossy(stream));
    Said {
        text: streams.concat(),
        code: output.status.code(),
    }
}

/// The exit code that goes with what the page shows: a command fails only where the page shows how.
fn promised(shown: &str) -> i32 {
    let denied = |line: &str| line.starts_with("denied: ") || line.ends_with(" 1 denied");
    let (done, failed, is_denied) = (0, 1, 3);
    match shown {
        _ if shown.lines().any(denied) => is_denied,
        "no" => failed,
        _ if shown.contains("is no duration") => failed,
        _ => done,
    }
}

/// What follows `--namespace`.
fn namespace<'w>(words: &[&'w str]) -> &'w str {
    let mut words = words.iter();
    words.find(|word| **word == "--namespace");
    words.next().expect("a namespace")
}

/// Whether there is what `docker compose` is to look at; `compose.rs` runs it.
fn look_up_in_compose(words: &[&str]) -> Said {
    let ["--file", file, command, rest @ ..] = words else {
        panic!("docker compose {words:?}");
    };
    let services: serde_json::Value =
        serde_saphyr::from_str(&text(file)).expect("it is a compose file");
    match (*command, rest) {
        ("up", ["--wait"]) | ("down", []) => {}
        ("exec", [service, "toolgate", ..]) => {
            let image = services["services"][*service]["image"].as_str();
            assert!(image.is_some_and(|image| image.starts_with("toolgate/toolgate:")));
        }
        other => panic!("docker compose {other:?}"),
    }
    Said {
        text: String::new(),
        code: Some(0),
    }
}

#[test]
fn a_command_fails_only_where_the_page_shows_it() {
    for (shown, code) in [
        ("", 0),
        ("10 allowed, 0 denied", 0),
        ("…\n3 allowed, 1 denied", 3),
        ("denied: 3 calls per 1m…", 3),
        ("yes", 0),
        ("no", 1),
        ("…\"1min\" is no duration; write it…", 1),
    ] {
        assert_eq!(promised(shown), code, "{shown}");
    }
}
