//! How a limiter is found and reached: reflection, Unix sockets, TLS to Redis.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use toolgate_proto::pb::{Decision, PeekRequest, ResetBucketsRequest};
use toolgate_tests::{Limiter, PolicyFile, RedisServer, eventually, of_user};

use crate::{TWO_A_DAY, health, limiter};

#[tokio::test]
async fn reflection_lists_all_services_in_both_versions() {
    let limiter = limiter(TWO_A_DAY).await;
    let expected = BTreeSet::from([
        "grpc.health.v1.Health".to_owned(),
        "grpc.reflection.v1.ServerReflection".to_owned(),
        "grpc.reflection.v1alpha.ServerReflection".to_owned(),
        "toolgate.v1.AdminService".to_owned(),
        "toolgate.v1.LimiterService".to_owned(),
    ]);
    {
        use tonic_reflection::pb::v1::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let mut client = ServerReflectionClient::new(limiter.channel().await.expect("connected"));
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let request = futures::stream::iter([request]);
        let replies = client
            .server_reflection_info(request)
            .await
            .expect("a stream");
        let reply = replies
            .into_inner()
            .message()
            .await
            .expect("a reply")
            .expect("one");
        let Some(MessageResponse::ListServicesResponse(list)) = reply.message_response else {
            panic!("{reply:?}");
        };
        let names: BTreeSet<_> = list
            .service
            .into_iter()
            .map(|service| service.name)
            .collect();
        assert_eq!(names, expected);
    }
    {
        use tonic_reflection::pb::v1alpha::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let mut client = ServerReflectionClient::new(limiter.channel().await.expect("connected"));
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::FileContainingSymbol(
                "toolgate.v1.CheckRequest".to_owned(),
            )),
        };
        let request = futures::stream::iter([request]);
        let replies = client
            .server_reflection_info(request)
            .await
            .expect("a stream");
        let reply = replies
            .into_inner()
            .message()
            .await
            .expect("a reply")
            .expect("one");
        let Some(MessageResponse::FileDescriptorResponse(file)) = reply.message_response else {
            panic!("{reply:?}");
        };
        assert_eq!(file.file_descriptor_proto.len(), 1);
    }
}

#[tokio::test]
async fn a_limiter_serves_on_a_unix_socket_and_takes_it_over_from_a_dead_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = format!("unix://{}", folder.path().join("toolgate.sock").display());
    let policies = PolicyFile::of_spec(TWO_A_DAY).expect("a policy");
    for _start in 0..2 {
        let arguments = ["--grpc-listen", &address];
        let mut limiter = Limiter::start(&policies.path(), arguments)
            .await
            .expect("a limiter");
        assert_eq!(limiter.endpoint(), address);
        let reply = limiter.check(of_user("alice")).await.expect("a decision");
        assert_eq!(reply.decision(), Decision::Allowed);
        limiter.signal(Signal::SIGKILL).expect("killed");
        limiter.wait().await.expect("ended");
    }
}

#[tokio::test]
async fn redis_is_reached_over_tls_as_a_user_of_its_acl() {
    let folder = tempfile::tempdir().expect("a folder");
    let certified =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let certificate = file("cert.pem", certified.cert.pem());
    let key = file("key.pem", certified.signing_key.serialize_pem());
    // The permissions that docs/redis.md names, and no others.
    let permissions = "+evalsha +eval +time +hmget +hset +hdel +pttl +pexpire +multi +exec";
    let mut user = vec!["--user", "toolgate", "on", ">p@ss", "~tg:*"];
    user.extend(permissions.split(' '));
    let redis = RedisServer::start_with_tls(&certificate, &key, &user)
        .await
        .expect("Redis");

    let policies = PolicyFile::of_spec(TWO_A_DAY).expect("a policy");
    let url = format!("rediss://toolgate:p%40ss@localhost:{}", redis.tls_port());
    let start = async |url: &str| {
        let mut arguments = vec!["--store", url, "--store-timeout", "20s"];
        arguments.extend(["--outage", "unavailable"]);
        Limiter::start_with(&policies.path(), arguments, |command| {
            command.env("SSL_CERT_FILE", &certificate);
        })
        .await
        .expect("a limiter")
    };
    let limiter = start(&url).await;
    let reply = limiter.check(of_user("alice")).await.expect("a decision");
    assert_eq!(reply.buckets[0].remaining, 1);
    let mut admin = limiter.admin().await.expect("a connection");
    let alice = ResetBucketsRequest {
        server: "test/server".to_owned(),
        identity: of_user("alice").identity,
        operation: None,
    };
    admin.reset_buckets(alice).await.expect("a reset");
    let request = PeekRequest {
        check: Some(of_user("alice")),
    };
    let mut client = limiter.client().await.expect("a connection");
    let peek = client.peek(request).await.expect("a decision").into_inner();
    assert_eq!(peek.check.expect("a check").buckets[0].remaining, 2);
    eventually("the store is seen to answer", async || {
        (health(&limiter, "").await == Ok(ServingStatus::Serving)).then_some(())
    })
    .await;

    let stranger = start(&url.replace("p%40ss", "hunter2")).await;
    let mut client = stranger.client().await.expect("a connection");
    let status = client
        .check(of_user("alice"))
        .await
        .expect_err("a wrong password");
    assert_eq!(status.code(), Code::Unavailable);
    for told in [stranger.log().expect("a log"), status.message().to_owned()] {
        assert!(
            !told.contains("hunter2"),
            "the password is never told: {told}"
        );
    }
}
