use std::sync::atomic::{AtomicU32, Ordering};

use futures::FutureExt as _;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tonic::async_trait;
use toolgate_limit::{Answer, BucketStore, Plan, SystemClock};
use toolgate_policy::Registry;
use toolgate_tasks::Tasks;

use super::*;
use crate::outage::LocalBuckets;

/// A store that panics for so many probes.
#[derive(Debug)]
struct Panics(AtomicU32);

#[async_trait]
impl BucketStore for Panics {
    async fn take(&self, _: Vec<Plan>) -> Vec<Result<Answer, StoreError>> {
        unreachable!("only probed")
    }

    async fn peek(&self, _: Plan) -> Result<Answer, StoreError> {
        unreachable!("only probed")
    }

    async fn reset(&self, _: Plan) -> Result<(), StoreError> {
        unreachable!("only probed")
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let left = self.0.load(Ordering::Relaxed);
        self.0.store(left.saturating_sub(1), Ordering::Relaxed);
        assert_eq!(left, 0, "bad luck");
        Ok(())
    }
}

struct Stage {
    stores: Stores,
    readiness: watch::Receiver<Readiness>,
    tasks: Tasks,
    _registry: Registry,
    _monitor: AbortOnDropHandle<()>,
}

impl Stage {
    /// In an outage, with probes of which the first `panics` panic.
    fn with(panics: u32) -> Self {
        let stage = Self::of(Stores::with_worker(Arc::new(Panics(panics.into())), None));
        stage.stores.breaker().open(&StoreError::Overloaded);
        stage
    }

    /// With probes that succeed, in a replica that decides alone if it is `local`.
    fn probed_well(local: bool) -> Self {
        let local = local.then(|| LocalBuckets::new(10));
        Self::of(Stores::with_worker(Arc::new(Panics(0.into())), local))
    }

    fn of(stores: Stores) -> Self {
        let registry = Registry::new(Arc::new(SystemClock::new()));
        registry.publish(Vec::new());
        let (monitor, readiness) = Monitor::new(
            stores.clone(),
            registry.subscribe(),
            ServiceHealth::new(),
            CancellationToken::new(),
        );
        let tasks = Tasks::default();
        let monitor = tasks.spawn("monitor", monitor, |monitor| monitor.run().boxed());
        Self {
            stores,
            readiness,
            tasks,
            _registry: registry,
            _monitor: AbortOnDropHandle::new(monitor),
        }
    }

    async fn comes_to(&mut self, expected: &Readiness) {
        let found = self.readiness.wait_for(|found| found == expected);
        let found = timeout(Duration::from_mins(10), found).await;
        drop(found.expect("in time").expect("the monitor runs"));
    }
}

/// The outage never ended: nothing closed the breaker any more.
#[tokio::test(start_paused = true)]
async fn a_monitor_that_panics_ends_the_outage_all_the_same() {
    for panics in [1, 2] {
        let mut stage = Stage::with(panics);
        stage.comes_to(&Readiness::Ready).await;
        assert!(!stage.stores.breaker().is_open());
        assert_eq!(stage.tasks.restarts(), [("monitor", panics.into())]);
        assert!(stage.tasks.fault().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_monitor_that_panics_again_and_again_says_that_nobody_knows() {
    for panics in [4, 20] {
        let mut stage = Stage::with(panics);
        let unknown = Readiness::NotReady(UNKNOWN.to_owned());
        stage.comes_to(&unknown).await;
        let (_, restarts) = stage.tasks.restarts()[0];
        // The next one may have followed before this was looked at.
        assert!((3..=4).contains(&restarts), "{restarts}");
        stage.comes_to(&Readiness::Ready).await;
        assert_eq!(stage.tasks.restarts(), [("monitor", panics.into())]);
    }
}

fn refused() -> StoreError {
    StoreError::Unavailable {
        kind: "noperm",
        reason: "no rights on this key".to_owned(),
        source: None,
    }
}

fn late() -> StoreError {
    StoreError::Timeout {
        after: Duration::from_millis(40),
    }
}

impl Stage {
    /// A check fails whenever one is let to the store, until something else is told than `before`.
    async fn fails_until_told(&mut self, error: &StoreError, before: &Readiness) -> Readiness {
        for _ in 0..1_000 {
            if let Some(permit) = self.stores.breaker().permit() {
                self.stores.breaker().failed(permit, error);
            }
            sleep(Duration::from_millis(20)).await;
            let found = self.readiness.borrow().clone();
            if found != *before {
                return found;
            }
        }
        panic!("never told: {before:?}");
    }
}

/// With a right that only the probe's key has, every check was decided alone, and `/readyz` said `ok`.
#[tokio::test(start_paused = true)]
async fn checks_that_fail_are_told_though_probes_pass_until_they_do_not() {
    for local in [true, false] {
        for error in [refused(), late()] {
            let mut stage = Stage::probed_well(local);
            stage.comes_to(&Readiness::Ready).await;
            let found = stage.fails_until_told(&error, &Readiness::Ready).await;
            let told = if local {
                Readiness::Degraded(error.to_string())
            } else {
                Readiness::NotReady(error.to_string())
            };
            assert_eq!(found, told);
            let breaker = Arc::clone(stage.stores.breaker());
            let (_, reason) = breaker.outage_now().expect("for `top`");
            assert_eq!(reason, error.to_string());
            assert!(breaker.is_outage());

            stage.comes_to(&Readiness::Ready).await;
            assert!(breaker.outage_now().is_none() && !breaker.is_outage());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn checks_of_a_part_that_fail_are_told_and_the_rest_decides() {
    for error in [refused(), late()] {
        let error = StoreError::Partial {
            part: "one node".into(),
            error: Box::new(error),
        };
        let mut stage = Stage::probed_well(true);
        stage.comes_to(&Readiness::Ready).await;
        let found = stage.fails_until_told(&error, &Readiness::Ready).await;
        assert_eq!(found, Readiness::Partly(error.to_string()));
        let breaker = Arc::clone(stage.stores.breaker());
        assert!(!breaker.is_open() && !breaker.is_outage());
        let (_, reason) = breaker.outage_now().expect("for `top`");
        assert_eq!(reason, error.to_string());
        stage.comes_to(&Readiness::Ready).await;
        assert!(breaker.outage_now().is_none());
    }
}

/// One connection that is lost and back is no outage to tell.
#[tokio::test(start_paused = true)]
async fn a_check_that_fails_once_shows_nobody_the_door() {
    let mut stage = Stage::probed_well(false);
    stage.comes_to(&Readiness::Ready).await;
    let breaker = Arc::clone(stage.stores.breaker());
    breaker.failed(breaker.permit().expect("closed"), &refused());
    for _ in 0..100 {
        sleep(Duration::from_millis(50)).await;
        assert_eq!(*stage.readiness.borrow(), Readiness::Ready);
    }
    assert!(!breaker.is_open());
}
