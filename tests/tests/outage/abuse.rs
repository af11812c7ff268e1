//! A burst of callers that nobody has seen before.

use toolgate_tests::{Limiter, RedisServer, of_user};

use crate::stage::Caller;

const SUBJECTS: usize = 100_000;

/// Checks that wait for their answers at a time.
const IN_FLIGHT: usize = 1_000;

/// In an outage each of them needs a bucket in the replica's memory, of which there is a bound.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_subjects_in_an_outage_cost_a_bounded_memory() {
    const MOST: usize = 50_000;
    let spec = "perUser: {maxTokens: 10, refillPeriod: 24h}";
    let mut redis = RedisServer::start().await.expect("Redis");
    redis.kill().await.expect("killed");
    for most in [MOST, 2 * SUBJECTS] {
        let users = most.to_string();
        let arguments = ["--store", &redis.url(), "--memory-max-users", &users];
        let mut limiter = Limiter::of_spec(spec, arguments).await.expect("a limiter");
        let mut caller = Caller::of(&limiter).await;
        // What a stream with so much in flight needs is no matter of subjects.
        let (first, refused) = burst(&mut caller, 0..IN_FLIGHT).await;
        assert_eq!((first, refused), (IN_FLIGHT, 0));
        let before = limiter.resident_bytes().expect("a size");
        let (decided, refused) = burst(&mut caller, IN_FLIGHT..SUBJECTS).await;
        let grown = limiter
            .resident_bytes()
            .expect("a size")
            .saturating_sub(before);
        println!(
            "{SUBJECTS} subjects, bound {most}: {} decided, {refused} refused, {} MiB more, {} in all",
            decided + first,
            grown >> 20,
            (before + grown) >> 20,
        );
        assert_eq!(decided + first, SUBJECTS.min(most));
        assert_eq!(refused, SUBJECTS - SUBJECTS.min(most));
        // Far above what a bucket takes, and far below what a leak would.
        assert!(grown < 200 << 20, "{grown} bytes");
        // Those who have a place go on being limited.
        caller.send(of_user("user-0")).await;
        assert!(caller.answer().await.expect("decided").degraded);
    }
}

/// How many were decided, and how many were refused for want of room.
async fn burst(caller: &mut Caller, users: std::ops::Range<usize>) -> (usize, usize) {
    let (mut decided, mut refused, mut in_flight) = (0, 0, 0);
    let mut users = users.peekable();
    while in_flight > 0 || users.peek().is_some() {
        if in_flight < IN_FLIGHT
            && let Some(user) = users.next()
        {
            caller.send(of_user(&format!("user-{user}"))).await;
            in_flight += 1;
            continue;
        }
        in_flight -= 1;
        match caller.answer().await {
            Ok(answer) => {
                assert!(answer.degraded, "{answer:?}");
                decided += 1;
            }
            Err((code, reason)) => {
                assert!(reason.contains("STORE_FULL"), "{code:?}: {reason}");
                refused += 1;
            }
        }
    }
    (decided, refused)
}
