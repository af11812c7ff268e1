//! Any subject and any name is safe over the wire, and what is too long is refused by field.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

use tonic::Code;
use tonic_types::StatusExt as _;
use toolgate_proto::pb::{CheckRequest, Decision, Identity, check_request::Operation};
use toolgate_tests::{Limiter, PolicyFile, RedisServer, of_tool, of_user};

const ONCE_A_DAY: &str = "perUser: {maxTokens: 1, refillPeriod: 24h}";

const TRICKY: [&str; 14] = [
    "alice", "ali:ce", "{alice}", "}{", "%61lice", "%", "ali\nce", "ali\0ce", "\r\n", "🦀", "a#b",
    "*", "\"", " ",
];

#[tokio::test]
async fn users_with_tricky_names_have_buckets_of_their_own() {
    let redis = RedisServer::start().await.expect("Redis");
    let policies = PolicyFile::of_spec(ONCE_A_DAY).expect("a policy");
    let arguments = ["--store", &redis.url(), "--store-timeout", "20s"];
    let limiter = Limiter::start(&policies.path(), arguments)
        .await
        .expect("a limiter");
    let mut client = limiter.client().await.expect("a connection");

    let identities = TRICKY.iter().flat_map(|name| {
        let of = |subject: &str, issuer: &str| Identity {
            subject: subject.to_owned(),
            issuer: issuer.to_owned(),
            groups: Vec::new(),
        };
        [of(name, ""), of(name, "issuer"), of("issuer", name)]
    });
    let identities: Vec<_> = identities.chain([Identity::default()]).collect();
    for expected in [Decision::Allowed, Decision::Denied] {
        for identity in &identities {
            let request = CheckRequest {
                identity: Some(identity.clone()),
                ..of_user("")
            };
            let reply = client.check(request).await.expect("a decision");
            assert_eq!(reply.into_inner().decision(), expected, "{identity:?}");
        }
    }
}

#[tokio::test]
async fn operations_with_tricky_names_are_checked_against_the_server_s_own_limits() {
    let policies = PolicyFile::of_spec("global: {maxTokens: 1000, refillPeriod: 24h}");
    let policies = policies.expect("a policy");
    let limiter = Limiter::start(&policies.path(), [""; 0])
        .await
        .expect("a limiter");
    let mut client = limiter.client().await.expect("a connection");
    for name in TRICKY {
        let reply = client
            .check(of_tool("alice", name))
            .await
            .expect("a decision");
        assert_eq!(reply.into_inner().buckets.len(), 1, "{name:?}");
    }
}

#[tokio::test]
async fn what_is_too_long_or_malformed_is_refused_and_the_field_is_named() {
    let policies = PolicyFile::of_spec(ONCE_A_DAY).expect("a policy");
    let limiter = Limiter::start(&policies.path(), [""; 0])
        .await
        .expect("a limiter");
    let mut client = limiter.client().await.expect("a connection");
    let long = "x".repeat(10_000);
    let with_operation = |operation| CheckRequest {
        operation: Some(operation),
        ..of_user("alice")
    };
    let of_server = |server: &str| CheckRequest {
        server: server.to_owned(),
        ..of_user("alice")
    };
    for (request, field) in [
        (of_user(&long), "identity.subject"),
        (with_operation(Operation::Tool(long.clone())), "tool"),
        (with_operation(Operation::Prompt(long.clone())), "prompt"),
        (
            with_operation(Operation::Resource(long.clone())),
            "resource",
        ),
        (with_operation(Operation::Tool(String::new())), "tool"),
        (of_server(""), "server"),
        (of_server("server"), "server"),
        (of_server(&long), "server"),
        (of_server("test/{server}"), "server"),
    ] {
        let status = client.check(request).await.expect_err("an invalid request");
        assert_eq!(status.code(), Code::InvalidArgument);
        let violations = status.get_details_bad_request().expect("details");
        assert_eq!(violations.field_violations[0].field, field);
        assert!(status.message().starts_with(field), "{status}");
    }
}
