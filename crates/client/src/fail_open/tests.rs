use std::{
    fmt::Write as _,
    io,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
};

use async_trait::async_trait;
use tokio::time::advance;
use toolgate_limit::{Identity, Limit, Operation, OperationKind, Quota, Scope};
use tracing::{Instrument as _, field::Empty, info_span};
use tracing_subscriber::fmt::{MakeWriter, format::FmtSpan};

use super::*;

/// Fails while `down`, else denies.
#[derive(Debug, Default)]
struct Fake {
    down: AtomicBool,
}

#[async_trait]
impl Limiter for Fake {
    async fn check(&self, check: Check) -> Result<Answer, LimiterError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(LimiterError::Timeout {
                after: Duration::from_millis(50),
            });
        }
        if check.operation.is_none() {
            return Ok(Answer::unlimited());
        }
        let quota = Quota::new(10, Duration::from_mins(1)).expect("a quota");
        let limit = Limit::new(check.server, check.operation, Scope::PerUser, quota);
        Ok(Answer {
            decision: Decision::Denied(Denial {
                limit: Arc::new(limit),
                retry_after: Some(Duration::from_micros(5_900_001)),
                cost: 1,
            }),
            ..Answer::unlimited()
        })
    }

    async fn peek(&self, check: Check) -> Result<Answer, LimiterError> {
        self.check(check).await
    }
}

fn check(tool: Option<&str>) -> Check {
    let tool = tool.map(|name| Operation::new(OperationKind::Tool, name).expect("valid"));
    Check {
        server: "test/server".parse().expect("valid"),
        identity: Identity::anonymous(),
        operation: tool,
        cost: Check::COST_OF_ONE,
        trace: None,
    }
}

/// What was logged, by the thread that holds this.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("held by none").clone()).expect("text")
    }

    pub(crate) fn capture(&self) -> impl Sized {
        // With one subscriber alone, a line that another test's thread comes by first is off for
        // this thread too.
        let second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
        let subscriber = tracing_subscriber::fmt()
            .with_writer(self.clone())
            .with_ansi(false)
            .with_span_events(FmtSpan::CLOSE)
            .finish();
        (second, tracing::subscriber::set_default(subscriber))
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut *self.0.lock().expect("held by none"), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_denial_blocks_unless_the_operator_says_otherwise() {
    let limiter = Arc::new(Fake::default());
    let dynamic: Arc<dyn Limiter> = Arc::clone(&limiter) as _;
    let open = FailOpen::new(Arc::clone(&dynamic), OnUnavailable::Allow);
    let shut = FailOpen::new(dynamic, OnUnavailable::Deny);

    let allowed = open.check(check(None)).await;
    assert_eq!(allowed, Verdict::Allowed { decided: true });
    let denied = open.check(check(Some("search"))).await;
    assert!(matches!(denied, Verdict::Denied(_)), "{denied:?}");

    limiter.down.store(true, Ordering::SeqCst);
    let undecided = open.check(check(Some("search"))).await;
    assert_eq!(undecided, Verdict::Allowed { decided: false });
    assert_eq!(shut.peek(check(None)).await, Verdict::Refused);

    let counters = open.counters();
    assert_eq!((counters.allowed(), counters.denied()), (1, 1));
    assert_eq!(counters.undecided(Cause::Timeout), 1);
    assert_eq!(counters.all_undecided(), 1);
    assert_eq!(shut.counters().undecided(Cause::Timeout), 1);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_logged_once_when_it_begins_and_once_when_it_ends() {
    let (limiter, log) = (Arc::new(Fake::default()), Log::default());
    let open = FailOpen::new(Arc::clone(&limiter), OnUnavailable::Allow);
    let _captured = log.capture();
    let lines = |part: &str| log.text().lines().filter(|l| l.contains(part)).count();
    for outages in 1..=2 {
        // It fails every other time, for ten seconds.
        for turn in 0..100 {
            limiter.down.store(turn % 2 == 0, Ordering::SeqCst);
            open.check(check(None)).await;
            advance(Duration::from_millis(100)).await;
        }
        assert_eq!(lines("no decision from the limiter"), outages);
        assert_eq!(lines("cause=\"timeout\""), outages, "{}", log.text());
        assert_eq!(lines("decides again"), outages - 1);
        advance(CALM).await;
        for _ in 0..10 {
            open.check(check(None)).await;
        }
        assert_eq!(lines("decides again"), outages);
    }
    assert_eq!(lines("undecided=50"), 2, "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn the_callers_span_says_what_was_decided() {
    let limiter = Arc::new(Fake::default());
    let open = FailOpen::new(Arc::clone(&limiter), OnUnavailable::Allow);
    let shut = FailOpen::new(Arc::clone(&limiter), OnUnavailable::Deny);
    let recorded = async |limiter: &FailOpen<Arc<Fake>>, check| {
        let log = Log::default();
        let _captured = log.capture();
        let span = info_span!(
            "call",
            rate_limit.decision = Empty,
            rate_limit.rejected_by = Empty,
            rate_limit.fail_open = Empty,
            rate_limit.degraded = Empty,
            rate_limit.retry_after_ms = Empty,
            rate_limit.cause = Empty,
        );
        limiter.check(check).instrument(span).await;
        let text = log.text();
        let closed = text.lines().find(|line| line.contains("close"));
        closed.expect("the span was closed").to_owned()
    };
    let said = |line: &str, decision: &str, fail_open: bool| {
        let mut expected = String::new();
        write!(expected, "rate_limit.decision=\"{decision}\"").expect("written");
        assert!(line.contains(&expected), "{line}");
        let fail_open = format!("rate_limit.fail_open={fail_open}");
        assert!(line.contains(&fail_open), "{line}");
    };
    let allowed = recorded(&open, check(None)).await;
    said(&allowed, "unlimited", false);
    assert!(!allowed.contains("rejected_by"), "{allowed}");
    let denied = recorded(&open, check(Some("search"))).await;
    said(&denied, "denied", false);
    assert!(
        denied.contains("rate_limit.rejected_by=\"per_user_tool\"")
            && denied.contains("rate_limit.retry_after_ms=5901")
            && denied.contains("rate_limit.degraded=false"),
        "{denied}"
    );
    limiter.down.store(true, Ordering::SeqCst);
    let undecided = recorded(&open, check(Some("search"))).await;
    said(&undecided, "fail_open", true);
    assert!(
        undecided.contains("rate_limit.cause=\"timeout\"") && !undecided.contains("degraded"),
        "{undecided}"
    );
    said(
        &recorded(&shut, check(Some("search"))).await,
        "refused",
        false,
    );
}
