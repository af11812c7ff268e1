use futures::FutureExt as _;
use tokio::time::advance;

use super::*;

fn timeout() -> StoreError {
    StoreError::Timeout {
        after: Duration::from_millis(40),
    }
}

fn lost() -> StoreError {
    StoreError::Unavailable {
        kind: "connection_lost",
        reason: "broken pipe".to_owned(),
        source: None,
    }
}

#[test]
fn a_lost_connection_opens_it_and_a_probe_closes_it() {
    let breaker = Arc::new(Breaker::new());
    let state = StoreState::of(Arc::clone(&breaker));
    let permit = breaker.permit().expect("closed");
    assert_eq!(state.degraded_since(), None);
    breaker.failed(permit, &lost());
    assert!(breaker.permit().is_none());
    assert!(state.degraded_since().is_some());
    assert!(breaker.tripped().now_or_never().is_some(), "a probe is due");
    assert!(matches!(breaker.error(), StoreError::Unavailable { .. }));
    assert!(breaker.close());
    assert!(!breaker.close());
    assert!(breaker.permit().is_some());
    assert_eq!(state.degraded_since(), None);
}

/// Three late batches in a row opened it, and a starved replica then decided thousands of checks
/// alone for a few hundred late ones.
#[tokio::test(start_paused = true)]
async fn late_batches_open_it_only_if_none_is_in_time_for_long() {
    let breaker = Breaker::new();
    let late = |checks| {
        let permit = breaker.permit().expect("closed");
        for _ in 0..checks {
            breaker.failed(permit, &timeout());
        }
    };
    let step = LATE_FOR / 20;
    for _ in 0..20 {
        late(64);
        advance(step).await;
        assert!(!breaker.is_open());
    }
    assert!(breaker.tripped().now_or_never().is_none());
    late(64);
    assert!(breaker.is_open());
    assert!(breaker.tripped().now_or_never().is_some(), "a probe is due");
}

#[tokio::test(start_paused = true)]
async fn few_late_batches_do_not_open_it_however_long_they_take() {
    let breaker = Breaker::new();
    for _ in 1..LATE {
        breaker.failed(breaker.permit().expect("closed"), &timeout());
        advance(LATE_FOR).await;
        assert!(!breaker.is_open());
    }
    breaker.failed(breaker.permit().expect("closed"), &timeout());
    assert!(breaker.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_check_that_is_decided_begins_the_row_of_late_ones_anew() {
    let breaker = Breaker::new();
    let before = breaker.permit().expect("closed");
    for _ in 0..5 * LATE {
        breaker.failed(breaker.permit().expect("closed"), &timeout());
        advance(LATE_FOR).await;
        breaker.decided(before);
        breaker.decided(breaker.permit().expect("closed"));
        assert!(!breaker.is_open());
    }
    // One that another worker sent beside the last late batch, and that was in time.
    for _ in 1..LATE {
        breaker.failed(breaker.permit().expect("closed"), &timeout());
    }
    advance(LATE_FOR).await;
    let (late, in_time) = (breaker.permit(), breaker.permit());
    breaker.decided(in_time.expect("closed"));
    breaker.failed(late.expect("closed"), &timeout());
    assert!(!breaker.is_open());
    // A decision from before the late checks tells nothing.
    let before = breaker.permit().expect("closed");
    for _ in 0..LATE {
        breaker.failed(breaker.permit().expect("closed"), &timeout());
        breaker.decided(before);
        advance(LATE_FOR).await;
    }
    assert!(breaker.is_open());
}

#[test]
fn late_probes_are_told_of_decided_checks_in_between() {
    let breaker = Breaker::new();
    assert!(breaker.probe_was_late(), "nothing is known yet");
    let permit = breaker.permit().expect("closed");
    assert!(!breaker.probe_was_late());
    breaker.decided(permit);
    assert!(breaker.probe_was_late());
    breaker.failed(breaker.permit().expect("closed"), &lost());
    assert!(!breaker.probe_was_late(), "it is open");
}

#[test]
fn a_lost_connection_opens_it_whoever_was_late_since_its_check_was_sent() {
    let breaker = Breaker::new();
    let (first, second) = (breaker.permit(), breaker.permit());
    breaker.failed(first.expect("closed"), &timeout());
    breaker.failed(second.expect("closed"), &lost());
    assert!(breaker.is_open());
}

#[test]
fn load_and_unreadable_values_do_not_open_it() {
    let breaker = Breaker::new();
    let permit = breaker.permit().expect("closed");
    for error in [
        StoreError::Overloaded,
        StoreError::Corrupt("a value".to_owned()),
    ] {
        breaker.failed(permit, &error);
        assert!(!breaker.is_open(), "{error}");
    }
    assert!(breaker.tripped().now_or_never().is_none());
}

/// Checks of one connection time out one batch after the other, some of them when a probe has
/// already shown that the store is back.
#[test]
fn a_check_from_before_it_closed_does_not_open_it_again() {
    let breaker = Breaker::new();
    let (first, second) = (breaker.permit(), breaker.permit());
    breaker.failed(first.expect("closed"), &lost());
    assert!(breaker.close());
    breaker.failed(second.expect("closed"), &lost());
    assert!(!breaker.is_open());
    breaker.failed(breaker.permit().expect("closed"), &lost());
    assert!(breaker.is_open());
}

#[test]
fn many_failures_are_one_outage_and_the_latest_probe_says_why() {
    let breaker = Breaker::new();
    let permit = breaker.permit().expect("closed");
    for _ in 0..100 {
        breaker.failed(permit, &lost());
    }
    assert!(breaker.tripped().now_or_never().is_some());
    assert!(breaker.tripped().now_or_never().is_none(), "told once");
    let refused = StoreError::Unavailable {
        kind: "readonly",
        reason: "READONLY".to_owned(),
        source: None,
    };
    breaker.open(&refused);
    assert!(breaker.error().to_string().contains("READONLY"));
}
