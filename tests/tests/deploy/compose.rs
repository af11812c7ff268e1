//! `deploy/compose.yaml`: its programs run with the arguments, the files, the restrictions and the
//! health checks that it gives them. Redis and the server behind the gateway are this machine's.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use serde_json::json;
use tokio::process::Command;
use toolgate_tests::{
    Container, ContainerOptions, Image, Process, RedisServer, eventually, network_of_its_own,
    probe, toolgate, vmcp,
};

use crate::{call::call, patient, repository, text};

#[derive(Deserialize)]
struct Compose {
    services: BTreeMap<String, Service>,
}

/// What a service of ours has; what none of this would show is in the schema of Compose.
#[derive(Deserialize)]
struct Service {
    read_only: bool,
    cap_drop: Vec<String>,
    security_opt: Vec<String>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    volumes: Vec<Bind>,
    healthcheck: Option<HealthCheck>,
    stop_grace_period: Option<String>,
    mem_limit: String,
    cpus: f64,
}

#[derive(Deserialize)]
struct Bind {
    r#type: String,
    source: String,
    target: String,
    read_only: bool,
}

#[derive(Deserialize)]
struct HealthCheck {
    test: Vec<String>,
}

fn compose() -> Compose {
    serde_saphyr::from_str(&text("deploy/compose.yaml")).expect("it is a compose file")
}

impl Service {
    /// As Docker starts it; `hosts` stands for Docker's name server.
    fn options(&self, arguments: &[&str], hosts: &Path) -> ContainerOptions {
        let arguments = match self.command.as_slice() {
            [] => arguments.iter().map(ToString::to_string).collect(),
            command => command.to_vec(),
        };
        let mut mounts = vec![(hosts.to_owned(), "/etc/hosts".to_owned(), false)];
        for bind in &self.volumes {
            assert_eq!(bind.r#type, "bind");
            let source = repository("deploy").join(&bind.source);
            let here = copy(&source, hosts.with_file_name(bind.target.replace('/', "-")));
            mounts.push((here, bind.target.clone(), !bind.read_only));
        }
        ContainerOptions {
            arguments,
            mounts,
            // See `patient`.
            environment: vec![("TOOLGATE_STORE_TIMEOUT".into(), "20s".into())],
            ..ContainerOptions::default()
        }
    }

    fn grace(&self) -> Duration {
        let seconds = self.stop_grace_period.as_ref();
        let seconds = seconds.and_then(|text| text.strip_suffix('s')?.parse().ok());
        Duration::from_secs(seconds.expect("a grace period in seconds"))
    }
}

/// The files of a folder, with settings that are [`patient`].
fn copy(from: &Path, to: PathBuf) -> PathBuf {
    fs::create_dir(&to).expect("a folder");
    for file in fs::read_dir(from).expect("a folder") {
        let file = file.expect("a file");
        let text = fs::read_to_string(file.path()).expect("text");
        let is_of_the_gateway = file.file_name() == "vmcp.yaml";
        let text = if is_of_the_gateway {
            patient(&text)
        } else {
            text
        };
        fs::write(to.join(file.file_name()), text).expect("a copy");
    }
    to
}

/// The default arguments of an image: `CMD` after the stage `target` of the Dockerfile.
fn default_arguments(target: &str) -> Vec<String> {
    let dockerfile = text("Dockerfile");
    let stage = format!("FROM scratch AS {target}\n");
    let (_, stage) = dockerfile.split_once(&stage).expect("the stage");
    let arguments = stage.lines().find_map(|line| line.strip_prefix("CMD "));
    serde_json::from_str(arguments.expect("a CMD")).expect("a list")
}

#[test]
fn every_service_is_restricted_and_has_bounds() {
    for (name, service) in compose().services {
        assert!(service.read_only, "{name}");
        assert_eq!(service.cap_drop, ["ALL"], "{name}");
        assert_eq!(service.security_opt, ["no-new-privileges:true"], "{name}");
        assert!(
            service.mem_limit.ends_with('m') && service.cpus > 0.0,
            "{name}"
        );
        // Our images have a user of their own.
        let is_ours = ["limiter", "vmcp"].contains(&name.as_str());
        let user = service.user.as_deref();
        assert!(
            is_ours && user.is_none() || user.is_some_and(|user| !user.starts_with('0')),
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_services_start_as_written_and_the_gateway_denies_the_fourth_call() {
    network_of_its_own().expect("a network");
    let services = compose().services;
    let folder = tempfile::tempdir().expect("a folder");
    let hosts = folder.path().join("hosts");
    let names: Vec<_> = services.keys().map(String::as_str).collect();
    let names = format!("127.0.0.1 {}\n", names.join(" "));
    fs::write(&hosts, names).expect("hosts");

    // With the settings that its service gives it, but for the folder that is in memory there.
    let redis = &services["redis"].command;
    let redis: Vec<_> = redis[1..].iter().map(String::as_str).collect();
    let redis = [
        &redis[..],
        &["--port", "6379", "--bind", "127.0.0.1", "--dir", "."],
    ]
    .concat();
    let _redis = RedisServer::start_with(&redis, None).await.expect("Redis");
    let everything = &services["everything"];
    let mut backend = Command::new("mcp-server-everything");
    backend
        .args(everything.command.last())
        .envs(&everything.environment);
    let _backend = Process::start(&mut backend).expect("the reference server");

    let limiter = &services["limiter"];
    let image = Image::of(toolgate().expect("built")).expect("an image");
    let arguments = default_arguments("toolgate");
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let options = limiter.options(&arguments, &hosts);
    let mut toolgate = Container::start(image, &options).await.expect("runs");
    probe("127.0.0.1:7071", "/readyz").await;
    let test = &limiter.healthcheck.as_ref().expect("a health check").test;
    let test: Vec<_> = test[1..].iter().map(String::as_str).collect();
    let health = toolgate.exec(&test).await.expect("runs");
    assert!(health.status.success(), "{health:?}");

    let gateway = &services["vmcp"];
    let image = Image::of(vmcp().expect("built")).expect("an image");
    let arguments = default_arguments("vmcp");
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let options = gateway.options(&arguments, &hosts);
    let mut vmcp = Container::start(image, &options).await.expect("runs");
    probe("127.0.0.1:4483", "/readyz").await;
    eventually("the backend", async || {
        let answer = call("everything_get-sum", &json!({"a": 1, "b": 2})).await;
        answer["result"].is_object().then_some(())
    })
    .await;
    let hello = json!({"message": "hello"});
    for _ in 1..=3 {
        let answer = call("everything_echo", &hello).await;
        assert!(answer["result"].is_object(), "{answer}");
    }
    let denied = call("everything_echo", &hello).await;
    assert_eq!(denied["error"]["code"], -32029, "{denied}");
    assert_eq!(denied["error"]["data"]["name"], "everything_echo");

    for (container, service) in [(&mut vmcp, gateway), (&mut toolgate, limiter)] {
        let code = container.stop(service.grace()).await.expect("ends");
        assert_eq!(code, 0, "{}", container.log().expect("a log"));
    }
}
