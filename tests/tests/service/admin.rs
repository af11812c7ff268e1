//! Policies and buckets, for operators.

use tonic::Code;
use toolgate_proto::pb::{
    GetPolicyRequest, Identity, ListBucketsRequest, ListPoliciesRequest, Mode, ResetBucketsRequest,
    reset_buckets_request,
};
use toolgate_tests::{Limiter, PolicyFile, manifest, of_tool};

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
