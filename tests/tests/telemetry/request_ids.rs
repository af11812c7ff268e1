//! The id by which a caller's error is found in the log.

use prost::Message as _;
use tokio::time::timeout;
use tonic::{Code, Request};
use tonic_types::{StatusExt as _, pb::RequestInfo};
use toolgate_proto::pb::{
    CheckRequest, CheckStreamRequest, GetPolicyRequest, check_stream_response::Result as Outcome,
};
use toolgate_tests::{Limiter, PATIENCE, eventually};

use crate::gateway::Gateway;

const SPEC: &str = "perUser: {maxTokens: 10, refillPeriod: 24h}";
const ID: &str = "agent-7:0af7651916cd43dd8448eb211c80319c";

async fn limiter() -> Limiter {
    let limiter = Limiter::of_spec(SPEC, ["--log", "debug"]).await;
    limiter.expect("a limiter")
}

/// The lines of the limiter's log that name `id`, once there is one.
async fn lines_of(limiter: &Limiter, id: &str) -> Vec<String> {
    eventually("a line with the id", async || {
        let log = limiter.log().ok()?;
        let lines = log.lines().filter(|line| line.contains(id));
        let lines: Vec<_> = lines.map(str::to_owned).collect();
        (!lines.is_empty()).then_some(lines)
    })
    .await
}

#[tokio::test]
async fn an_error_names_its_request_as_the_caller_and_the_log_do() {
    let limiter = limiter().await;
    let mut client = limiter.client().await.expect("a connection");
    let mut request = Request::new(CheckRequest::default());
    request
        .metadata_mut()
        .insert("x-request-id", ID.parse().expect("plain"));
    let error = client.check(request).await.expect_err("no server");
    assert_eq!(error.code(), Code::InvalidArgument);
    let details = error.get_error_details();
    assert!(details.bad_request().is_some(), "{details:?}");
    let info = details.request_info().expect("an id");
    assert_eq!(info.request_id, ID);
    let lines = lines_of(&limiter, ID).await;
    assert!(lines.len() == 1 && lines[0].contains("DEBUG"), "{lines:?}");

    // Of any service, and made where the caller has none that may stand in a log.
    let mut admin = limiter.admin().await.expect("a connection");
    let mut request = Request::new(GetPolicyRequest {
        server: "test/none".to_owned(),
    });
    request
        .metadata_mut()
        .insert("x-request-id", "a b".parse().expect("ASCII"));
    let error = admin.get_policy(request).await.expect_err("no policy");
    assert_eq!(error.code(), Code::NotFound);
    let details = error.get_error_details();
    let made = &details.request_info().expect("an id").request_id;
    assert!(
        made.len() == 16 && made.bytes().all(|it| it.is_ascii_hexdigit()),
        "{made}"
    );
    lines_of(&limiter, made).await;
}

#[tokio::test]
async fn an_error_on_a_stream_names_the_stream_and_the_log_the_check_too() {
    let limiter = limiter().await;
    let mut client = limiter.client().await.expect("a connection");
    let wrong = CheckStreamRequest {
        id: 4_711,
        check: Some(CheckRequest::default()),
        ..CheckStreamRequest::default()
    };
    let mut request = Request::new(tokio_stream::iter([wrong]));
    request
        .metadata_mut()
        .insert("x-request-id", ID.parse().expect("plain"));
    let answers = timeout(PATIENCE, client.check_stream(request)).await;
    let mut answers = answers.expect("in time").expect("a stream").into_inner();
    let answer = timeout(PATIENCE, answers.message()).await;
    let answer = answer.expect("in time").expect("an answer");
    let Some(Outcome::Error(error)) = answer.and_then(|answer| answer.result) else {
        panic!("no error");
    };
    let infos = error
        .details
        .iter()
        .filter(|any| any.type_url.ends_with("RequestInfo"));
    let ids: Vec<_> = infos
        .map(|any| {
            RequestInfo::decode(&*any.value)
                .expect("an info")
                .request_id
        })
        .collect();
    assert_eq!(ids, [ID]);
    let lines = lines_of(&limiter, ID).await;
    assert!(lines.len() == 1 && lines[0].contains("4711"), "{lines:?}");
}

fn id_of(answer: &reqwest::Response) -> String {
    let id = answer.headers().get("x-request-id").expect("an id");
    id.to_str().expect("text").to_owned()
}

#[tokio::test]
async fn each_response_of_the_gateway_has_the_id_of_its_request() {
    let gateway = Gateway::start("", &[("RUST_LOG", "vmcp=debug")]).await;
    let answer = gateway.call("a_echo", &[("x-request-id", ID)]).await;
    assert!(answer.status().is_success());
    assert_eq!(id_of(&answer), ID);
    let (one, other) = (
        gateway.call("a_echo", &[]).await,
        gateway.call("a_echo", &[]).await,
    );
    assert_eq!((id_of(&one).len(), id_of(&other).len()), (16, 16));
    assert_ne!(id_of(&one), id_of(&other));
    let forged = gateway.call("a_echo", &[("x-request-id", "a b")]).await;
    assert_eq!(id_of(&forged).len(), 16);

    // What is no message, and what is of no tool: both are in the log.
    let refused = gateway.get("/mcp").await.expect("an answer");
    assert!(refused.status().is_client_error(), "{}", refused.status());
    let unknown = gateway.call("a_none", &[]).await;
    let ids = [id_of(&refused), id_of(&unknown)];
    let log = gateway.stop().await;
    for id in ids {
        assert!(log.contains(&id), "{id}: {log}");
    }
    assert!(
        !log.contains(&id_of(&one)),
        "a call that succeeds is not logged"
    );
}
