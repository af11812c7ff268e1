//! What an operator expects of the service beside its decisions: health, reflection, sockets,
//! administration, a clean stop.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::{collections::BTreeSet, time::Duration};

use futures::StreamExt as _;
use nix::sys::signal::Signal;
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use toolgate_proto::pb::{
    CheckStreamRequest, Decision, GetPolicyRequest, Identity, ListBucketsRequest,
    ListPoliciesRequest, Mode, PeekRequest, ResetBucketsRequest,
    check_stream_response::Result as Outcome, reset_buckets_request,
};
use toolgate_tests::{Limiter, PolicyFile, RedisServer, eventually, manifest, of_tool, of_user};

const TWO_A_DAY: &str = "perUser: {maxTokens: 2, refillPeriod: 24h}";

async fn limiter(spec: &str) -> Limiter {
    Limiter::of_spec(spec, [""; 0]).await.expect("a limiter")
}

async fn health(limiter: &Limiter, service: &str) -> Result<ServingStatus, Code> {
    let mut client = HealthClient::new(limiter.channel().await.expect("a connection"));
    let service = service.to_owned();
    let reply = client.check(HealthCheckRequest { service }).await;
    reply
        .map(|reply| reply.into_inner().status())
        .map_err(|status| status.code())
}

#[tokio::test]
async fn health_follows_the_store_for_each_service() {
    let mut redis = RedisServer::start().await.expect("Redis");
    let policies = PolicyFile::of_spec(TWO_A_DAY).expect("a policy");
    let arguments = ["--store", &redis.url()];
    let limiter = Limiter::start(&policies.path(), arguments)
        .await
        .expect("a limiter");
    let becomes = async |service, status| {
        eventually("health follows", async || {
            (health(&limiter, service).await == Ok(status)).then_some(())
        })
        .await;
    };
    becomes("", ServingStatus::Serving).await;
    becomes("toolgate.v1.LimiterService", ServingStatus::Serving).await;
    redis.kill().await.expect("killed");
    becomes("toolgate.v1.LimiterService", ServingStatus::NotServing).await;
    becomes("", ServingStatus::NotServing).await;
    // Policies can be looked at all the same.
    becomes("toolgate.v1.AdminService", ServingStatus::Serving).await;
    redis.restart().await.expect("restarted");
    becomes("toolgate.v1.LimiterService", ServingStatus::Serving).await;
    assert_eq!(health(&limiter, "unknown").await, Err(Code::NotFound));
}

#[tokio::test]
async fn reflection_lists_all_services_in_both_versions() {
    let limiter = limiter(TWO_A_DAY).await;
    let expected = BTreeSet::from([
        "grpc.health.v1.Health".to_owned(),
        "grpc.reflection.v1.ServerReflection".to_owned(),
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
async fn peek_pays_nothing_and_check_pays() {
    let limiter = limiter(TWO_A_DAY).await;
    let mut client = limiter.client().await.expect("a connection");
    let mut peek = async || {
        let request = PeekRequest {
            check: Some(of_user("alice")),
        };
        let reply = client.peek(request).await.expect("a decision").into_inner();
        reply.check.expect("a check").buckets[0].remaining
    };
    assert_eq!(peek().await, 2);
    assert_eq!(peek().await, 2);
    limiter.check(of_user("alice")).await.expect("a decision");
    assert_eq!(peek().await, 1);
}

#[tokio::test]
async fn a_denial_is_an_answer_that_says_why_and_for_how_long() {
    let limiter =
        limiter("tools: [{name: search, perUser: {maxTokens: 1, refillPeriod: 1h}}]").await;
    limiter
        .check(of_tool("alice", "search"))
        .await
        .expect("a decision");
    let reply = limiter
        .check(of_tool("alice", "search"))
        .await
        .expect("a decision");
    assert_eq!(reply.decision(), Decision::Denied);
    let denial = reply.denial.expect("a denial");
    let wait = denial.retry_after.expect("it can pass");
    assert!((3_500..=3_600).contains(&wait.seconds), "{wait:?}");
    assert!(
        denial
            .message
            .starts_with("1 call per 1h per user of tool search; retry in "),
        "{}",
        denial.message
    );
    // A cost that no wait can pay has no retry_after.
    let request = toolgate_proto::pb::CheckRequest {
        cost: 2,
        ..of_tool("bob", "search")
    };
    let reply = limiter.check(request).await.expect("a decision");
    assert_eq!(reply.denial.expect("a denial").retry_after, None);
    // Without a limit there is nothing to deny.
    let reply = limiter
        .check(of_tool("alice", "other"))
        .await
        .expect("a decision");
    assert_eq!(
        (reply.decision(), reply.buckets.len()),
        (Decision::Allowed, 0)
    );
}

#[tokio::test]
async fn a_policy_in_shadow_mode_never_denies() {
    let limiter = limiter("mode: Shadow, perUser: {maxTokens: 1, refillPeriod: 24h}").await;
    for remaining in [0, 0, 0] {
        let reply = limiter.check(of_user("alice")).await.expect("a decision");
        assert_eq!(reply.decision(), Decision::Allowed);
        assert_eq!(reply.buckets[0].remaining, remaining);
    }
}

#[tokio::test]
async fn administration_shows_policies_in_pages_and_resets_buckets() {
    let spec = "global: {maxTokens: 10, refillPeriod: 24h}, perUser: {maxTokens: 2, refillPeriod: 24h}, \
                tools: [{name: search, perUser: {maxTokens: 1, refillPeriod: 24h}}]";
    let manifests = ["a", "b", "server"]
        .map(|name| manifest(name, spec))
        .join("---\n");
    let policies = PolicyFile::new(&manifests).expect("policies");
    let limiter = Limiter::start(&policies.path(), [""; 0])
        .await
        .expect("a limiter");
    let mut admin = limiter.admin().await.expect("a connection");

    let mut servers = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListPoliciesRequest {
            page_size: 2,
            page_token,
        };
        let page = admin
            .list_policies(request)
            .await
            .expect("a page")
            .into_inner();
        assert_eq!(page.reload.expect("a status").generation, 1);
        assert!(page.policies.len() <= 2);
        servers.extend(page.policies.into_iter().map(|policy| policy.server));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(servers, ["test/a", "test/b", "test/server"]);

    let of_server = |server: &str| GetPolicyRequest {
        server: server.to_owned(),
    };
    let policy = admin
        .get_policy(of_server("test/server"))
        .await
        .expect("a policy");
    let policy = policy.into_inner().policy.expect("a policy");
    assert_eq!(policy.mode(), Mode::Enforce);
    assert_eq!(policy.limits.len(), 3);
    assert!(
        policy.origin.contains("policies.yaml:"),
        "{}",
        policy.origin
    );
    let unknown = admin.get_policy(of_server("test/unknown")).await;
    assert_eq!(unknown.expect_err("no such server").code(), Code::NotFound);

    limiter
        .check(of_tool("alice", "search"))
        .await
        .expect("a decision");
    let alice = Identity {
        subject: "alice".to_owned(),
        ..Identity::default()
    };
    let mut remaining = async |identity: Option<&Identity>| {
        let request = ListBucketsRequest {
            server: "test/server".to_owned(),
            identity: identity.cloned(),
        };
        let reply = admin
            .list_buckets(request)
            .await
            .expect("buckets")
            .into_inner();
        reply
            .buckets
            .iter()
            .map(|bucket| bucket.remaining)
            .collect::<Vec<_>>()
    };
    assert_eq!(remaining(None).await, [9]);
    assert_eq!(remaining(Some(&alice)).await, [1, 0]);
    let reset = |operation| ResetBucketsRequest {
        server: "test/server".to_owned(),
        identity: Some(alice.clone()),
        operation,
    };
    let tool = reset_buckets_request::Operation::Tool("search".to_owned());
    let mut other_admin = limiter.admin().await.expect("a connection");
    let reply = other_admin
        .reset_buckets(reset(Some(tool)))
        .await
        .expect("a reset");
    assert_eq!(reply.into_inner().reset_count, 1);
    assert_eq!(remaining(Some(&alice)).await, [1, 1]);
    let reply = other_admin
        .reset_buckets(reset(None))
        .await
        .expect("a reset");
    assert_eq!(reply.into_inner().reset_count, 2);
    assert_eq!(remaining(Some(&alice)).await, [2, 1]);
    assert_eq!(remaining(None).await, [9]);
}

#[tokio::test]
async fn on_a_stream_a_wrong_check_fails_alone() {
    let limiter = limiter(TWO_A_DAY).await;
    let mut client = limiter.client().await.expect("a connection");
    let check = |id, check| CheckStreamRequest {
        id,
        check,
        timeout: None,
    };
    let wrong = toolgate_proto::pb::CheckRequest::default();
    let requests = [
        check(7, Some(of_user("alice"))),
        check(8, Some(wrong)),
        check(9, None),
        check(10, Some(of_user("alice"))),
    ];
    let replies = client.check_stream(futures::stream::iter(requests)).await;
    let replies: Vec<_> = replies.expect("a stream").into_inner().collect().await;
    let mut outcomes: Vec<_> = replies
        .into_iter()
        .map(|reply| reply.expect("the stream goes on"))
        .map(|reply| (reply.id, reply.result.expect("a result")))
        .collect();
    outcomes.sort_by_key(|(id, _)| *id);
    let summary: Vec<_> = outcomes
        .into_iter()
        .map(|(id, outcome)| match outcome {
            Outcome::Response(response) => (id, response.decision().as_str_name().to_owned()),
            Outcome::Error(error) => (id, format!("{}: {}", error.code, error.message)),
        })
        .collect();
    let allowed = "DECISION_ALLOWED".to_owned();
    assert_eq!(
        summary,
        [
            (7, allowed.clone()),
            (8, "3: check.server: must not be empty".to_owned()),
            (9, "3: check: must be set".to_owned()),
            (10, allowed),
        ]
    );
}

/// A long field is refused by its name. A message beyond all measure ends the stream, but not before
/// the checks that came ahead of it are answered.
#[tokio::test]
async fn on_a_stream_a_message_that_is_too_large_costs_no_other_check() {
    let limiter = limiter("perUser: {maxTokens: 1000, refillPeriod: 24h}").await;
    let mut client = limiter.client().await.expect("a connection");
    let check = |id, check| CheckStreamRequest {
        id,
        check: Some(check),
        timeout: None,
    };
    let mut requests: Vec<_> = (0..100).map(|id| check(id, of_user("alice"))).collect();
    requests.push(check(100, of_tool("alice", &"x".repeat(70_000))));
    requests.push(check(101, of_tool("alice", &"x".repeat(2_000_000))));
    let replies = client.check_stream(futures::stream::iter(requests)).await;
    let replies: Vec<_> = replies.expect("a stream").into_inner().collect().await;
    let (answers, failures): (Vec<_>, Vec<_>) = replies.into_iter().partition(Result::is_ok);
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert_eq!(answers.len(), 101, "all that came ahead");
    let refused = answers.into_iter().filter_map(|answer| {
        let answer = answer.expect("an answer");
        match answer.result.expect("a result") {
            Outcome::Response(_) => None,
            Outcome::Error(error) => Some((answer.id, error.message)),
        }
    });
    let refused: Vec<_> = refused.collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0].0, 100);
    assert!(refused[0].1.starts_with("check.tool: "), "{refused:?}");
}

#[tokio::test]
async fn on_sigterm_calls_in_flight_are_answered_and_the_exit_is_clean() {
    let mut redis = RedisServer::start().await.expect("Redis");
    let policies = PolicyFile::of_spec(TWO_A_DAY).expect("a policy");
    let arguments = [
        "--store",
        &redis.url(),
        "--store-timeout",
        "20s",
        "--drain-timeout",
        "30s",
    ];
    let mut limiter = Limiter::start(&policies.path(), arguments)
        .await
        .expect("a limiter");
    // A health watch and an idle stream stay open for ever if they are let.
    let mut watch = HealthClient::new(limiter.channel().await.expect("a connection"));
    let mut watch = watch
        .watch(HealthCheckRequest::default())
        .await
        .expect("a watch")
        .into_inner();
    let mut idle = limiter.client().await.expect("a connection");
    let idle = idle
        .check_stream(futures::stream::pending())
        .await
        .expect("a stream");
    limiter
        .check(of_user("bob"))
        .await
        .expect("Redis is connected");

    // Redis holds the answer back until the limiter has been told to stop.
    redis.signal(Signal::SIGSTOP).expect("stopped");
    let mut client = limiter.client().await.expect("a connection");
    let in_flight = tokio::spawn(async move { client.check(of_user("alice")).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    limiter.signal(Signal::SIGTERM).expect("told to stop");
    let mut last = None;
    while let Some(Ok(reply)) = watch.next().await {
        last = Some(reply.status());
    }
    assert_eq!(
        last,
        Some(ServingStatus::NotServing),
        "health says so first"
    );
    assert!(
        idle.into_inner().next().await.is_none(),
        "the idle stream ends in good order"
    );
    redis.signal(Signal::SIGCONT).expect("continued");

    let reply = in_flight.await.expect("no panic").expect("an answer");
    assert_eq!(reply.into_inner().decision(), Decision::Allowed);
    assert!(limiter.wait().await.expect("ended").success());
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
    // The permissions that the README names, and no others.
    let permissions = "+evalsha +eval +time +hmget +hset +hdel +pttl +pexpire +set +multi +exec";
    let mut user = vec!["--user", "toolgate", "on", ">p@ss", "~tg:*"];
    user.extend(permissions.split(' '));
    let redis = RedisServer::start_with_tls(&certificate, &key, &user)
        .await
        .expect("Redis");

    let policies = PolicyFile::of_spec(TWO_A_DAY).expect("a policy");
    let url = format!("rediss://toolgate:p%40ss@localhost:{}", redis.tls_port());
    let start = async |url: &str| {
        let arguments = ["--store", url, "--store-timeout", "20s"];
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

    let stranger = start(&url.replace("p%40ss", "wrong")).await;
    let mut client = stranger.client().await.expect("a connection");
    let status = client
        .check(of_user("alice"))
        .await
        .expect_err("a wrong password");
    assert_eq!(status.code(), Code::Unavailable);
    for told in [stranger.log().expect("a log"), status.message().to_owned()] {
        assert!(
            !told.contains("wrong"),
            "the password is never told: {told}"
        );
    }
}
