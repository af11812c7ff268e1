//! A limiter as its image runs it: no root, nothing to write to, no shell.

use std::{path::Path, time::Duration};

use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use toolgate_tests::{
    Container, ContainerOptions, Image, RedisServer, network_of_its_own, probe, toolgate,
};

use crate::repository;

/// Its default of `--drain-timeout`, and a little.
const GRACE: Duration = Duration::from_secs(15);

#[tokio::test]
async fn the_limiter_runs_without_root_rights_shell_or_a_place_to_write_and_ends_when_told_to() {
    network_of_its_own().expect("a network");
    let redis = RedisServer::start_with(&["--port", "6379", "--bind", "127.0.0.1"], None);
    let redis = redis.await.expect("Redis");
    let image = Image::of(toolgate().expect("built")).expect("an image");
    // The arguments that the image has of itself, and what nobody can know for others.
    let arguments = "serve --grpc-listen 0.0.0.0:7070 --http-listen 0.0.0.0:7071";
    let environment = [
        ("TOOLGATE_POLICIES", "/etc/toolgate/policy.yaml"),
        ("TOOLGATE_STORE", "redis://127.0.0.1:6379"),
        // For a machine that is very busy: late answers would be decided without Redis.
        ("TOOLGATE_STORE_TIMEOUT", "20s"),
    ];
    let options = ContainerOptions {
        arguments: arguments.split(' ').map(str::to_owned).collect(),
        environment: environment
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
        mounts: vec![(
            repository("examples/everything"),
            "/etc/toolgate".into(),
            false,
        )],
        ..ContainerOptions::default()
    };
    let mut limiter = Container::start(image, &options).await.expect("runs");

    for path in ["/livez", "/readyz"] {
        probe("127.0.0.1:7071", path).await;
    }
    let channel = Endpoint::from_static("http://127.0.0.1:7070").connect_lazy();
    for service in ["", "toolgate.v1.LimiterService"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let health = HealthClient::new(channel.clone()).check(request).await;
        let health = health.expect("an answer").into_inner().status();
        assert_eq!(health, ServingStatus::Serving, "{service}");
    }

    let status = limiter.proc("status").expect("a status");
    let line = |name| {
        let mut lines = status.lines();
        lines.find_map(|line| line.strip_prefix(name)).expect(name)
    };
    assert_eq!(
        line("Uid:").split_whitespace().collect::<Vec<_>>(),
        ["65532"; 4]
    );
    assert_eq!(
        line("Gid:").split_whitespace().collect::<Vec<_>>(),
        ["65532"; 4]
    );
    assert_eq!(line("Groups:").trim(), "");
    assert_eq!(line("NoNewPrivs:").trim(), "1");
    for set in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
        assert_eq!(line(set).trim(), "0".repeat(16), "{set}");
    }
    let mounts = limiter.proc("mountinfo").expect("mounts");
    for mount in mounts.lines() {
        let fields: Vec<_> = mount.split(' ').collect();
        let is_of_the_kernel = fields[4].starts_with("/proc") || fields[4].starts_with("/dev/");
        assert!(is_of_the_kernel || fields[5].starts_with("ro"), "{mount}");
    }
    let root = limiter.proc_path("root");
    for shell in ["bin/sh", "usr/bin/sh", "bin/bash", "usr/bin/dpkg"] {
        assert!(!root.join(Path::new(shell)).exists(), "{shell}");
    }

    let check = "check default/research --user alice --tool everything_echo -n 4";
    let check: Vec<_> = check.split(' ').collect();
    let denied = limiter.exec_program(&check).await.expect("runs");
    let table = String::from_utf8_lossy(&denied.stdout);
    assert!(table.contains("3 allowed, 1 denied"), "{table}");
    assert_eq!(denied.status.code(), Some(3));

    let code = limiter.stop(GRACE).await.expect("ends");
    assert_eq!(code, 0, "{}", limiter.log().expect("a log"));
    drop(redis);
}
