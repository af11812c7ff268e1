use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::time::Instant;

use super::*;

/// A call whose last byte never comes.
fn half_a_call() -> Request<Body> {
    let mut text = call(&json!(1)).to_string();
    text.pop();
    let text = stream::iter([Ok::<_, std::io::Error>(text)]);
    let mut request = request(None, &json!(null));
    *request.body_mut() = Body::from_stream(text.chain(stream::pending()));
    request
}

/// Half a body held its connection for ever.
#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_waited_for_half_a_minute() {
    let begun = Instant::now();
    let (response, _) = send(&served(Rejection::default()), half_a_call()).await;
    assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(response.headers()[header::CONNECTION], "close");
    assert_eq!(begun.elapsed().as_secs(), BODY_WITHIN.as_secs());
}

/// Half requests held the drain for its 30 s, and Kubernetes killed what it waited for.
#[tokio::test(start_paused = true)]
async fn a_drain_waits_two_seconds_for_the_rest_of_a_body() {
    let (drain, draining) = watch::channel(false);
    let edge = edge(Arc::new(Recorder::default()), Rejection::default());
    let router = routers(edge, draining).mcp;
    let begun = Instant::now();
    let asked = tokio::spawn(async move { send(&router, half_a_call()).await.0 });
    tokio::time::sleep(Duration::from_secs(5)).await;
    drain.send_replace(true);
    assert_eq!(asked.await.unwrap().status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(begun.elapsed().as_secs(), 7);
}
