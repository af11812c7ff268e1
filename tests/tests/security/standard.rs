//! The services that all of gRPC has in common, as their protocols want them.

use futures::{SinkExt as _, channel::mpsc};
use nix::sys::signal::Signal;
use tokio::time::timeout;
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};
use toolgate_tests::{Limiter, PATIENCE};

use crate::stage::TEN_A_DAY;

async fn limiter() -> Limiter {
    Limiter::of_spec(TEN_A_DAY, [""; 0])
        .await
        .expect("a limiter")
}

/// It was ended with `NOT_FOUND`. The protocol has it go on, as the service may come yet.
#[tokio::test]
async fn a_watch_of_an_unknown_service_stays_and_ends_with_the_limiter() {
    let mut limiter = limiter().await;
    let mut client = HealthClient::new(limiter.channel().await.expect("a connection"));
    let of = |service: &str| HealthCheckRequest {
        service: service.to_owned(),
    };
    let unknown = client.watch(of("unknown")).await.expect("a stream");
    let mut unknown = unknown.into_inner();
    let known = client.watch(of("toolgate.v1.AdminService")).await;
    let mut known = known.expect("a stream").into_inner();
    let first = timeout(PATIENCE, unknown.message()).await.expect("in time");
    let first = first.expect("no error").expect("a status");
    assert_eq!(first.status(), ServingStatus::ServiceUnknown);
    let refused = client.check(of("unknown")).await.expect_err("a check");
    assert_eq!(refused.code(), Code::NotFound);

    limiter.signal(Signal::SIGTERM).expect("told to stop");
    let mut last = None;
    while let Some(told) = timeout(PATIENCE, known.message())
        .await
        .expect("in time")
        .expect("no error")
    {
        last = Some(told.status());
    }
    assert_eq!(last, Some(ServingStatus::NotServing));
    let end = timeout(PATIENCE, unknown.message()).await.expect("in time");
    assert!(end.expect("no error").is_none(), "it ends and says no more");
    assert!(limiter.wait().await.expect("ended").success());
}

/// The stream was ended with `NOT_FOUND`.
#[tokio::test]
async fn a_reflection_stream_goes_on_after_a_name_that_is_not_there() {
    use v1::{
        server_reflection_request::MessageRequest as Asked,
        server_reflection_response::MessageResponse as Answer,
    };
    let limiter = limiter().await;
    let channel = limiter.channel().await.expect("a connection");
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel);
    let (mut requests, receiver) = mpsc::channel(1);
    let answers = client.server_reflection_info(receiver).await;
    let mut answers = answers.expect("a stream").into_inner();
    let mut ask = async |asked: Asked| {
        let request = v1::ServerReflectionRequest {
            host: "here".to_owned(),
            message_request: Some(asked),
        };
        requests.send(request.clone()).await.expect("open");
        let answer = timeout(PATIENCE, answers.message()).await.expect("in time");
        let answer = answer.expect("the stream goes on").expect("an answer");
        assert_eq!(answer.original_request, Some(request));
        answer.message_response.expect("an answer")
    };
    let nothing = || "toolgate.v1.Nothing".to_owned();
    for asked in [
        Asked::FileContainingSymbol(nothing()),
        Asked::FileByFilename(nothing()),
        Asked::AllExtensionNumbersOfType(nothing()),
        Asked::FileContainingExtension(v1::ExtensionRequest::default()),
    ] {
        let Answer::ErrorResponse(error) = ask(asked.clone()).await else {
            panic!("{asked:?} is there");
        };
        assert_eq!(error.error_code, i32::from(Code::NotFound), "{asked:?}");
    }
    let here = Asked::FileContainingSymbol("toolgate.v1.LimiterService.Check".to_owned());
    let Answer::FileDescriptorResponse(files) = ask(here).await else {
        panic!("no file");
    };
    assert_eq!(files.file_descriptor_proto.len(), 1);
}

/// As above, by the older name: what grpcurl and Postman ask first, if they are of an older release.
#[tokio::test]
async fn the_older_reflection_goes_on_too() {
    use v1alpha::{
        server_reflection_request::MessageRequest as Asked,
        server_reflection_response::MessageResponse as Answer,
    };
    let limiter = limiter().await;
    let channel = limiter.channel().await.expect("a connection");
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let asked = |asked| v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(asked),
    };
    let requests = futures::stream::iter([
        asked(Asked::FileContainingSymbol("nothing".to_owned())),
        asked(Asked::ListServices(String::new())),
    ]);
    let answers = client.server_reflection_info(requests).await;
    let mut answers = answers.expect("a stream").into_inner();
    let mut next = async || {
        let answer = timeout(PATIENCE, answers.message()).await.expect("in time");
        let answer = answer.expect("the stream goes on").expect("an answer");
        answer.message_response
    };
    let first = next().await;
    assert!(matches!(first, Some(Answer::ErrorResponse(_))), "{first:?}");
    let second = next().await;
    assert!(
        matches!(second, Some(Answer::ListServicesResponse(_))),
        "{second:?}"
    );
}
