use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::advance;
use toolgate_limit::{BucketStore, MemoryStore, Mode, Plan, Quota, Quotas, Snapshot};

use super::*;
use crate::outage::LATE_FOR;

/// A store that has lost its buckets and says what it is told to; without an error it decides.
#[derive(Debug)]
struct Failing {
    error: Mutex<Option<StoreError>>,
    /// Checks that it decides before it fails.
    spared: AtomicUsize,
    asked: AtomicUsize,
    buckets: MemoryStore,
}

impl Failing {
    fn outcome(&self) -> Result<(), StoreError> {
        let before = self.asked.fetch_add(1, Ordering::SeqCst);
        if before < self.spared.load(Ordering::SeqCst) {
            return Ok(());
        }
        let error = self.error.lock().expect("not poisoned");
        error.clone().map_or(Ok(()), Err)
    }

    fn fail(&self, error: Option<StoreError>) {
        *self.error.lock().expect("not poisoned") = error;
    }
}

#[tonic::async_trait]
impl BucketStore for Failing {
    async fn take(&self, plans: Vec<Plan>) -> Vec<Result<Answer, StoreError>> {
        let mut answers = Vec::new();
        for plan in plans {
            answers.push(match self.outcome() {
                Ok(()) => self.buckets.take(vec![plan]).await.remove(0),
                Err(error) => Err(error),
            });
        }
        answers
    }

    async fn peek(&self, plan: Plan) -> Result<Answer, StoreError> {
        self.outcome()?;
        self.buckets.peek(plan).await
    }

    async fn reset(&self, plan: Plan) -> Result<(), StoreError> {
        self.outcome()?;
        self.buckets.reset(plan).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.outcome()
    }
}

#[derive(Debug)]
struct Fixed(Arc<Snapshot>);

impl Policies for Fixed {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0)
    }
}

struct Replica {
    store: Arc<Failing>,
    breaker: Arc<Breaker>,
    limiter: ReplicaLimiter,
}

/// A replica under a limit of `capacity` calls a day and user, with room for three groups.
fn replica(capacity: u32, local: bool) -> Replica {
    let own = Quotas {
        global: None,
        per_user: Quota::new(capacity, Duration::from_hours(24)).ok(),
    };
    let server = "test/server".parse().expect("valid");
    let policy = Policy::new(server, Mode::Enforce, own, []).expect("valid");
    let policies: Arc<dyn Policies> = Arc::new(Fixed(Arc::new(Snapshot::new(1, [policy]))));
    let store = Arc::new(Failing {
        error: Mutex::default(),
        spared: AtomicUsize::new(0),
        asked: AtomicUsize::new(0),
        buckets: MemoryStore::new(100),
    });
    let breaker = Arc::new(Breaker::new());
    let limiter = ReplicaLimiter::new(
        StoreLimiter::new(Arc::clone(&policies), Arc::clone(&store) as _),
        Arc::clone(&breaker),
        policies,
        local.then(|| LocalBuckets::new(3)),
    );
    Replica {
        store,
        breaker,
        limiter,
    }
}

fn check(user: &str) -> Check {
    Check {
        server: "test/server".parse().expect("valid"),
        identity: Identity::new(user).expect("valid"),
        operation: None,
        cost: Check::COST_OF_ONE,
        trace: None,
    }
}

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

impl Replica {
    /// Whether alice may, and whether the replica has decided alone.
    async fn ask(&self) -> (bool, bool) {
        let answer = self.decide(check("alice")).await.expect("decided");
        (answer.decision.is_allowed(), answer.degraded)
    }

    async fn decide(&self, check: Check) -> Result<Answer, StoreError> {
        self.limiter.check_all(&[check], false).await.remove(0)
    }

    fn asked(&self) -> usize {
        self.store.asked.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn without_the_store_a_replica_enforces_the_limit_alone_and_asks_once() {
    let replica = replica(2, true);
    assert_eq!(replica.ask().await, (true, false));
    replica.store.fail(Some(lost()));
    // The first is asked of the store, and decided here all the same.
    assert_eq!(replica.ask().await, (true, true));
    assert_eq!(replica.ask().await, (true, true));
    assert_eq!(replica.ask().await, (false, true));
    assert_eq!(replica.asked(), 2);

    replica.store.fail(None);
    replica.breaker.close();
    assert_eq!(replica.ask().await, (true, false), "the store's own bucket");
    assert_eq!(replica.ask().await, (false, false));
}

/// One late batch made a replica decide alone for half a second.
#[tokio::test]
async fn a_check_that_is_late_is_decided_alone_and_the_next_by_the_store() {
    let replica = replica(2, true);
    for late in 1..=3 {
        replica.store.fail(Some(timeout()));
        let (_, is_degraded) = replica.ask().await;
        assert!(is_degraded);
        replica.store.fail(None);
        let (_, is_degraded) = replica.ask().await;
        assert!(!is_degraded, "after {late}");
    }
}

#[tokio::test(start_paused = true)]
async fn checks_that_are_late_for_long_are_the_last_that_wait() {
    let replica = replica(1_000, true);
    replica.store.fail(Some(timeout()));
    let wait = Duration::from_millis(40);
    let waits = LATE_FOR.as_micros().div_ceil(wait.as_micros());
    for _ in 0..2 * waits {
        assert_eq!(replica.ask().await, (true, true));
        advance(wait).await;
    }
    assert_eq!(u128::try_from(replica.asked()).expect("few"), waits + 1);
}

#[tokio::test]
async fn of_checks_that_came_together_those_that_the_store_failed_on_are_decided_alone() {
    let replica = replica(2, true);
    replica.store.fail(Some(lost()));
    replica.store.spared.store(1, Ordering::SeqCst);
    let checks = ["alice", "bob", "bob", "bob"].map(check);
    let answers = replica.limiter.check_all(&checks, true).await;
    let told = answers.into_iter().map(|answer| {
        let answer = answer.expect("decided");
        (
            answer.decision.is_allowed(),
            answer.degraded,
            answer.buckets.len(),
        )
    });
    let alice = (true, false, 0);
    let (bob, refused) = ((true, true, 0), (false, true, 1));
    assert_eq!(told.collect::<Vec<_>>(), [alice, bob, bob, refused]);
}

/// A flood of looks that timed out made the replica decide alone.
#[tokio::test]
async fn a_look_that_fails_opens_no_breaker() {
    for local in [true, false] {
        let replica = replica(2, local);
        replica.store.fail(Some(StoreError::Timeout {
            after: Duration::from_millis(40),
        }));
        let looked = replica.limiter.look(&check("alice")).await;
        assert_eq!(looked.is_ok_and(|answer| answer.degraded), local);
        assert!(!replica.breaker.is_open());
        let in_store = replica.limiter.look_in_store(&check("alice")).await;
        in_store.expect_err("it failed");
        replica.store.fail(None);
        let answer = replica.limiter.check_all(&[check("alice")], false).await;
        assert!(answer[0].as_ref().is_ok_and(|answer| !answer.degraded));
    }
}

#[tokio::test]
async fn a_peek_is_decided_alone_too_and_pays_nothing() {
    let replica = replica(1, true);
    replica.store.fail(Some(lost()));
    for _ in 0..2 {
        let peek = replica
            .limiter
            .look(&check("alice"))
            .await
            .expect("decided");
        assert!(peek.degraded && peek.decision.is_allowed());
        assert_eq!(peek.buckets[0].remaining, 1);
    }
    // Each asks the store: a peek opens no breaker.
    assert_eq!(replica.asked(), 2);
}

/// A server without a policy was once refused with the others while the breaker was open.
#[tokio::test]
async fn what_no_limit_concerns_is_allowed_whatever_becomes_of_the_store() {
    for local in [true, false] {
        let replica = replica(1, local);
        replica.store.fail(Some(lost()));
        let _ = replica.decide(check("alice")).await;
        let check = Check {
            server: "test/other".parse().expect("valid"),
            ..check("alice")
        };
        let answer = replica
            .limiter
            .check_all(&[check], false)
            .await
            .remove(0)
            .expect("decided");
        assert!(answer.decision.is_allowed() && !answer.degraded);
    }
}

#[tokio::test]
async fn a_replica_that_may_not_decide_alone_gives_the_error_at_once() {
    let replica = replica(1, false);
    replica.store.fail(Some(lost()));
    for _ in 0..3 {
        let error = replica.decide(check("alice")).await;
        let error = error.expect_err("undecided");
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    }
    replica
        .limiter
        .look(&check("alice"))
        .await
        .expect_err("too");
    assert_eq!(replica.asked(), 1);
}

#[tokio::test]
async fn a_check_that_the_store_is_too_busy_for_is_decided_here_and_the_next_by_the_store() {
    let replica = replica(2, true);
    replica.store.fail(Some(StoreError::Overloaded));
    assert_eq!(replica.ask().await, (true, true));
    replica.store.fail(None);
    assert_eq!(replica.ask().await, (true, false));
}

#[tokio::test]
async fn a_check_of_a_part_that_is_down_is_decided_here_and_the_next_by_the_store() {
    let replica = replica(2, true);
    let of_a_part = StoreError::Partial {
        part: "one node".into(),
        error: Box::new(timeout()),
    };
    replica.store.fail(Some(of_a_part));
    assert_eq!(replica.ask().await, (true, true));
    replica.store.fail(None);
    assert_eq!(replica.ask().await, (true, false));
}

#[tokio::test]
async fn users_beyond_the_bound_are_an_error_and_the_others_go_on_being_limited() {
    let replica = replica(1, true);
    replica.store.fail(Some(lost()));
    for user in ["alice", "bob", "carol"] {
        let answer = replica.decide(check(user)).await.expect("room");
        assert!(answer.decision.is_allowed());
    }
    let error = replica.decide(check("dave")).await;
    let error = error.expect_err("no room");
    assert!(matches!(error, StoreError::Full { max: 3 }), "{error}");
    assert_eq!(replica.ask().await, (false, true));
}

#[tokio::test]
async fn buckets_are_shown_and_reset_in_the_store_alone() {
    let replica = replica(1, true);
    let policy = replica.limiter.policy(&check("alice").server);
    let policy = policy.expect("a policy");
    let alice = check("alice").identity;
    replica.store.fail(Some(lost()));
    assert_eq!(replica.ask().await, (true, true));
    for _ in 0..2 {
        let shown = replica.limiter.buckets(&policy, Some(&alice)).await;
        shown.expect_err("no store");
        let reset = replica.limiter.reset(&policy, Some(&alice), None).await;
        reset.expect_err("no store");
    }
    assert_eq!(replica.asked(), 1, "nobody waits for a store that is down");

    // What is reset in the store is full when it fails again.
    replica.store.fail(None);
    replica.breaker.close();
    let reset = replica.limiter.reset(&policy, Some(&alice), None).await;
    assert_eq!(reset.expect("reset"), 1);
    replica.store.fail(Some(lost()));
    assert_eq!(replica.ask().await, (true, true));
}
