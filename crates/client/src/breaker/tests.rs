use std::time::Duration;

use tokio::time::{Instant, advance};

use super::*;

const CONFIG: BreakerConfig = BreakerConfig {
    failures: 5,
    probe: Backoff {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(30),
    },
};

fn breaker() -> Breaker {
    Breaker::new(CONFIG, fastrand::Rng::with_seed(1))
}

fn fail(breaker: &mut Breaker) -> Change {
    let permit = breaker.admit(Instant::now()).expect("let through");
    breaker.failed(&permit, Instant::now())
}

fn open(breaker: &mut Breaker) {
    while fail(breaker) != Change::Opened {}
}

/// Time until a check is let through, in steps of 10 ms.
async fn wait_for_probe(breaker: &mut Breaker) -> (Duration, Permit) {
    let asked = Instant::now();
    loop {
        if let Some(permit) = breaker.admit(Instant::now()) {
            return (asked.elapsed(), permit);
        }
        advance(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_fifth_failure_in_a_row_opens_it() {
    let mut breaker = breaker();
    for round in 0..3 {
        for _ in 0..4 {
            assert_eq!(fail(&mut breaker), Change::None, "{round}");
        }
        let permit = breaker.admit(Instant::now()).expect("still closed");
        assert_eq!(breaker.succeeded(&permit), Change::None);
    }
    for _ in 0..4 {
        assert_eq!(fail(&mut breaker), Change::None);
    }
    assert_eq!(fail(&mut breaker), Change::Opened);
    assert_eq!(breaker.state(), BreakerState::Open);
    assert!(breaker.admit(Instant::now()).is_none());
}

#[tokio::test(start_paused = true)]
async fn probes_come_after_a_second_and_double_to_half_a_minute() {
    let mut breaker = breaker();
    open(&mut breaker);
    for most_secs in [1, 2, 4, 8, 16, 30, 30, 30] {
        let (waited, permit) = wait_for_probe(&mut breaker).await;
        let most = Duration::from_secs(most_secs);
        let step = Duration::from_millis(10);
        assert!(
            waited <= most + step && waited >= most / 2,
            "{waited:?} of {most:?}"
        );
        assert_eq!(breaker.failed(&permit, Instant::now()), Change::StaysOpen);
    }
}

#[tokio::test(start_paused = true)]
async fn one_check_probes_at_a_time_and_its_success_closes() {
    let mut breaker = breaker();
    open(&mut breaker);
    let (_, probe) = wait_for_probe(&mut breaker).await;
    assert_eq!(breaker.state(), BreakerState::Probing);
    assert!(breaker.admit(Instant::now()).is_none());
    assert_eq!(breaker.succeeded(&probe), Change::Closed);
    assert_eq!(breaker.readiness(Instant::now()), Readiness::Ready);

    // The next opening waits for a second again, not for two.
    open(&mut breaker);
    let (waited, _) = wait_for_probe(&mut breaker).await;
    assert!(waited <= Duration::from_millis(1_010), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_given_up_leaves_its_place_to_the_next_check() {
    let mut breaker = breaker();
    open(&mut breaker);
    let (_, probe) = wait_for_probe(&mut breaker).await;
    breaker.abandoned(&probe, Instant::now());
    assert_eq!(breaker.readiness(Instant::now()), Readiness::ProbeDue);
    let next = breaker.admit(Instant::now()).expect("the next probe");
    assert_eq!(breaker.succeeded(&probe), Change::None, "it was given up");
    assert_eq!(breaker.succeeded(&next), Change::Closed);
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_before_it_opened_is_no_longer_asked() {
    let mut breaker = breaker();
    let early: Vec<_> = (0..8)
        .map(|_| breaker.admit(Instant::now()).expect("closed"))
        .collect();
    let (late, early) = early.split_at(3);
    for permit in early {
        breaker.failed(permit, Instant::now());
    }
    assert_eq!(breaker.state(), BreakerState::Open);
    let (_, probe) = wait_for_probe(&mut breaker).await;
    assert_eq!(breaker.succeeded(&late[0]), Change::None);
    assert_eq!(breaker.failed(&late[1], Instant::now()), Change::None);
    breaker.abandoned(&late[2], Instant::now());
    assert_eq!(breaker.state(), BreakerState::Probing);
    assert_eq!(breaker.succeeded(&probe), Change::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_one_failure_and_ends_a_probe() {
    let mut breaker = breaker();
    for _ in 0..4 {
        assert_eq!(breaker.strike(Instant::now()), Change::None);
    }
    assert_eq!(breaker.strike(Instant::now()), Change::Opened);
    assert_eq!(breaker.strike(Instant::now()), Change::None);
    let (_, probe) = wait_for_probe(&mut breaker).await;
    assert_eq!(breaker.strike(Instant::now()), Change::StaysOpen);
    breaker.abandoned(&probe, Instant::now());
    assert!(breaker.admit(Instant::now()).is_none());
}

/// Else callers that all give up soon would each be a probe, and wait.
#[tokio::test(start_paused = true)]
async fn a_probe_that_was_given_up_and_stayed_unanswered_is_followed_by_a_longer_wait() {
    let mut breaker = breaker();
    open(&mut breaker);
    let (_, probe) = wait_for_probe(&mut breaker).await;
    breaker.abandoned(&probe, Instant::now());
    assert_eq!(breaker.strike(Instant::now()), Change::StaysOpen);
    let (waited, _) = wait_for_probe(&mut breaker).await;
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
}
