use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::{advance, timeout};
use toolgate_proto::pb::{CheckResponse, Decision};

use super::*;

const MAX: usize = 4;

/// What leaves a session.
pub(crate) type Wire = mpsc::Receiver<Outgoing>;

/// A session, and what it would put on the wire. Its connection is never made.
pub(crate) fn session() -> (Arc<Session>, Wire) {
    let channel = Channel::from_static("http://[::1]:1").connect_lazy();
    let (requests, outgoing) = mpsc::channel(MAX);
    let session = Session {
        client: LimiterServiceClient::new(channel),
        requests,
        waiting: Mutex::default(),
        condemned: Notify::new(),
        owing: Notify::new(),
        blamed: AtomicBool::new(false),
        leaving: AtomicBool::new(false),
        asked_to_leave: Notify::new(),
        over: Notify::new(),
    };
    (Arc::new(session), outgoing)
}

fn send(session: &Arc<Session>) -> Result<Sent, NotSent> {
    let deadline = Instant::now() + Duration::from_millis(50);
    session.send(CheckRequest::default(), None, deadline)
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
        leaving: false,
    }
}

fn in_flight(session: &Session) -> usize {
    session.waiting().count()
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

/// It was once sent and paid, and its answer found nobody.
#[tokio::test(start_paused = true)]
async fn a_check_whose_caller_has_gone_before_it_left_is_not_put_on_the_wire() {
    let (session, mut wire) = session();
    let gone = send(&session).expect("sent");
    let _stays = send(&session).expect("sent");
    drop(gone);
    assert!(wire.recv().await.expect("queued").into_message().is_none());
    assert!(wire.recv().await.expect("queued").into_message().is_some());

    let _queued = send(&session).expect("sent");
    session.end(&"cut".into());
    assert!(wire.recv().await.expect("queued").into_message().is_none());
}

/// Sends a check, lets it leave if `leaves`, and gives it up after 10 of its 50 ms.
async fn give_up(session: &Arc<Session>, wire: &mut Wire, leaves: bool) -> u64 {
    let sent = send(session).expect("sent");
    let outgoing = wire.recv().await.expect("queued");
    let id = outgoing.id;
    if leaves {
        assert!(outgoing.into_message().is_some());
    }
    advance(Duration::from_millis(10)).await;
    drop(sent);
    id
}

async fn silence_after(session: &Session) -> Option<Duration> {
    let asked = Instant::now();
    let silence = timeout(Duration::from_secs(1), session.silence());
    silence.await.ok().map(|()| asked.elapsed())
}

#[tokio::test(start_paused = true)]
async fn silence_is_no_answer_by_the_deadline_of_a_check_that_was_given_up() {
    let (session, mut wire) = session();
    for _ in 0..2 {
        give_up(&session, &mut wire, true).await;
        // It is one debt, and lasts as long as that of the first.
        give_up(&session, &mut wire, true).await;
        let silence = silence_after(&session).await;
        assert_eq!(silence, Some(Duration::from_millis(30)));
    }
    assert_eq!(silence_after(&session).await, None);
}

#[tokio::test(start_paused = true)]
async fn an_answer_or_a_check_that_never_left_or_waited_to_the_end_is_no_silence() {
    let (session, mut wire) = session();
    let id = give_up(&session, &mut wire, true).await;
    session.hand_over(answer(id));
    give_up(&session, &mut wire, false).await;
    let waits = send(&session).expect("sent");
    assert!(wire.recv().await.expect("queued").into_message().is_some());
    let late = timeout(Duration::from_millis(50), waits.reply()).await;
    assert!(late.is_err(), "it counts by itself");
    assert_eq!(silence_after(&session).await, None);
}

/// What was held up may lie unread.
#[tokio::test(start_paused = true)]
async fn a_stall_of_this_side_is_no_silence() {
    let (session, mut wire) = session();
    give_up(&session, &mut wire, true).await;
    let mut silence = Box::pin(silence_after(&session));
    assert!(futures::poll!(&mut silence).is_pending());
    advance(Duration::from_millis(100)).await;
    assert_eq!(silence.await, None);
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_blamed_once() {
    let (session, _wire) = session();
    assert!(session.take_blame());
    assert!(!session.take_blame());
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

#[tokio::test(start_paused = true)]
async fn a_session_that_finishes_takes_nothing_more_and_is_over_with_its_last_answer() {
    let (session, mut wire) = session();
    let [answered, given_up] = [send(&session).expect("sent"), send(&session).expect("sent")];
    session.finish();
    assert!(matches!(send(&session), Err(NotSent::Ended)));
    assert!(session.over.notified().now_or_never().is_none());
    // What was taken still leaves, and is answered.
    let message = wire.recv().await.expect("on the wire").into_message();
    session.hand_over(answer(message.expect("in time").id));
    answered.reply().await.expect("answered");
    assert!(session.over.notified().now_or_never().is_none());
    drop(given_up);
    assert!(session.over.notified().now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_finishes_while_nobody_waits_is_over_at_once() {
    let (session, _wire) = session();
    session.finish();
    assert!(session.over.notified().now_or_never().is_some());
}
