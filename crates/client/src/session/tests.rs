use std::time::Duration;

use tokio::time::{advance, timeout};
use toolgate_proto::pb::{CheckResponse, Decision};

use super::*;

const MAX: usize = 4;

/// A session, and what it would put on the wire. Its connection is never made.
fn session() -> (Arc<Session>, mpsc::Receiver<Outgoing>) {
    let channel = Channel::from_static("http://[::1]:1").connect_lazy();
    let (requests, outgoing) = mpsc::channel(MAX);
    let session = Session {
        client: LimiterServiceClient::new(channel),
        requests,
        waiting: Mutex::default(),
        condemned: Notify::new(),
    };
    (Arc::new(session), outgoing)
}

fn send(session: &Arc<Session>) -> Result<Sent, NotSent> {
    let deadline = Instant::now() + Duration::from_millis(50);
    session.send(CheckRequest::default(), deadline)
}

fn answer(id: u64) -> CheckStreamResponse {
    let response = CheckResponse {
        decision: Decision::Allowed.into(),
        // Tells the answers apart.
        degraded: id == 0,
        ..CheckResponse::default()
    };
    CheckStreamResponse {
        id,
        result: Some(Outcome::Response(response)),
    }
}

fn in_flight(session: &Session) -> usize {
    session.waiting().by_id.len()
}

#[tokio::test(start_paused = true)]
async fn answers_in_any_order_find_their_checks() {
    let (session, mut wire) = session();
    let sent = [send(&session).expect("sent"), send(&session).expect("sent")];
    let mut ids = Vec::new();
    for _ in &sent {
        let message = wire.recv().await.expect("on the wire").into_message();
        let message = message.expect("in time");
        let told = message.timeout.expect("the limiter is told");
        assert_eq!((told.seconds, told.nanos), (0, 50_000_000));
        ids.push(message.id);
    }
    for id in ids.iter().rev() {
        session.hand_over(answer(*id));
    }
    for (sent, id) in sent.into_iter().zip(ids) {
        let outcome = sent.reply().await.expect("answered");
        assert_eq!(outcome, answer(id).result);
    }
    assert_eq!(in_flight(&session), 0);
}

#[tokio::test(start_paused = true)]
async fn a_check_whose_time_is_up_takes_its_id_along_and_its_late_answer_finds_nobody() {
    let (session, mut wire) = session();
    for _ in 0..100 {
        let sent = send(&session).expect("sent");
        let waited = timeout(Duration::from_millis(50), sent.reply()).await;
        assert!(waited.is_err(), "no answer has come");
        assert_eq!(in_flight(&session), 0);
        let late = wire.recv().await.expect("on its way");
        session.hand_over(answer(late.id));
    }
    let (given_up, kept) = (send(&session).expect("sent"), send(&session).expect("sent"));
    drop(given_up);
    session.hand_over(answer(100));
    session.hand_over(answer(101));
    kept.reply().await.expect("the other is answered");
}

#[tokio::test(start_paused = true)]
async fn a_check_that_was_given_up_on_the_way_is_not_put_on_the_wire() {
    let (session, mut wire) = session();
    let _sent = send(&session).expect("sent");
    advance(Duration::from_millis(20)).await;
    let _later = send(&session).expect("sent");
    advance(Duration::from_millis(30)).await;
    assert!(wire.recv().await.expect("queued").into_message().is_none());
    let later = wire.recv().await.expect("queued").into_message();
    let left = later.and_then(|later| later.timeout).expect("in time");
    assert_eq!(left.nanos, 20_000_000);
}

#[tokio::test(start_paused = true)]
async fn an_end_fails_what_is_in_flight_and_takes_nothing_more() {
    let (session, _wire) = session();
    let sent = [send(&session).expect("sent"), send(&session).expect("sent")];
    session.end(&"cut".into());
    for sent in sent {
        let error = sent.reply().await.expect_err("lost").to_string();
        assert_eq!(error, "the connection to the limiter was lost: cut");
    }
    assert!(matches!(send(&session), Err(NotSent::Ended)));
    assert_eq!(in_flight(&session), 0);
}

#[tokio::test(start_paused = true)]
async fn a_wire_that_takes_nothing_fails_checks_at_once() {
    let (session, wire) = session();
    let _sent: Vec<_> = (0..MAX).map(|_| send(&session).expect("sent")).collect();
    assert!(matches!(send(&session), Err(NotSent::Full)));
    assert_eq!(in_flight(&session), MAX);
    assert!(session.is_open());
    drop(wire);
    assert!(!session.is_open());
    assert!(matches!(send(&session), Err(NotSent::Ended)));
}
