use std::sync::atomic::{AtomicU32, Ordering};

use futures::FutureExt as _;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tonic::async_trait;
use toolgate_limit::{Answer, BucketStore, Plan, SystemClock};
use toolgate_policy::Registry;
use toolgate_tasks::Tasks;

use super::*;

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
        let stores = Stores::with_worker(Arc::new(Panics(panics.into())));
        stores.breaker().open(&StoreError::Overloaded);
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
