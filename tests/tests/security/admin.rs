//! `AdminService` is not for everybody.

use tonic::{Code, Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use toolgate_proto::pb::{
    GetActivityRequest, ListPoliciesRequest, admin_service_client::AdminServiceClient,
};
use toolgate_tests::Limiter;

use crate::stage::{Stage, TEN_A_DAY};

/// Shows policies, and users by name: both, or neither.
async fn administer(channel: Channel) -> Result<(), Status> {
    let mut admin = AdminServiceClient::new(channel);
    let policies = admin.list_policies(ListPoliciesRequest::default()).await;
    let activity = admin.get_activity(GetActivityRequest::default()).await;
    match (policies, activity) {
        (Ok(_), Ok(_)) => Ok(()),
        (Err(refused), Err(also)) => {
            assert_eq!(refused.code(), also.code());
            assert_eq!(refused.message(), also.message());
            Err(refused)
        }
        (policies, activity) => panic!("one of two: {policies:?} {activity:?}"),
    }
}

async fn is_healthy(channel: Channel) -> bool {
    let mut health = HealthClient::new(channel);
    health.check(HealthCheckRequest::default()).await.is_ok()
}

async fn channel(stage: &Stage, name: &str) -> Channel {
    let identity = stage.authority.credentials(&[name]);
    stage.channel(Some(&identity)).await.expect("a connection")
}

#[tokio::test]
async fn where_callers_are_listed_only_administrators_administer() {
    let callers = "callers:\n\
        - {san: gateway.svc, servers: [\"*\"]}\n\
        - {san: ops.svc, admin: true}\n";
    let stage = Stage::start(callers, &[]).await;
    administer(channel(&stage, "ops.svc").await)
        .await
        .expect("an administrator");
    for name in ["gateway.svc", "x.svc"] {
        let channel = channel(&stage, name).await;
        let refused = administer(channel.clone())
            .await
            .expect_err("no administrator");
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(refused.message().contains("admin: true"), "{refused}");
        assert!(is_healthy(channel).await, "health is for all who are in");
    }
}

#[tokio::test]
async fn where_nobody_is_listed_every_verified_caller_administers() {
    let stage = Stage::start("", &["--grpc-listen", "0.0.0.0:0"]).await;
    administer(channel(&stage, "any.svc").await)
        .await
        .expect("verified");
}

/// On an address that only this machine reaches it just works; elsewhere it must be asked for.
#[tokio::test]
async fn over_plaintext_administration_is_for_this_machine_unless_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = format!("unix://{}/socket", folder.path().display());
    for (listen, asked, served) in [
        ("127.0.0.1:0", None, true),
        (&*socket, None, true),
        ("0.0.0.0:0", None, false),
        ("0.0.0.0:0", Some("--insecure-admin"), true),
    ] {
        let arguments = ["--grpc-listen", listen].into_iter().chain(asked);
        let limiter = Limiter::of_spec(TEN_A_DAY, arguments)
            .await
            .expect("a limiter");
        let channel = limiter.channel().await.expect("a connection");
        let answer = administer(channel.clone()).await;
        assert_eq!(answer.is_ok(), served, "{listen} {asked:?}: {answer:?}");
        if let Err(refused) = answer {
            assert_eq!(refused.code(), Code::PermissionDenied);
            assert!(refused.message().contains("insecureAdmin"), "{refused}");
        }
        assert!(is_healthy(channel).await);
    }
}
