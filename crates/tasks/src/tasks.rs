use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

/// The pause before a task begins anew.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a panic counts as a fault of the process.
const OF_LATE: Duration = Duration::from_mins(1);

/// The tasks of one process. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Tasks(Arc<Mutex<BTreeMap<&'static str, Record>>>);

/// What is known of the tasks of one name.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    restarts: u64,
    latest: Option<Instant>,
}

impl Tasks {
    /// Runs `task` on `state`, in a task on the current runtime, until it returns. If it panics, it
    /// begins anew with the same state.
    ///
    /// The state must be whole after each step, so that a panic leaves nothing half done that the
    /// next run would trip over.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &'static str,
        state: T,
        task: impl for<'a> Fn(&'a mut T) -> BoxFuture<'a, ()> + Send + Sync + 'static,
    ) -> JoinHandle<()> {
        tokio::spawn(self.clone().keep(name, state, task))
    }

    /// As [`Tasks::spawn`], in the calling task.
    pub fn keep<T: Send>(
        self,
        name: &'static str,
        mut state: T,
        task: impl for<'a> Fn(&'a mut T) -> BoxFuture<'a, ()> + Send + Sync,
    ) -> impl Future<Output = ()> + Send {
        self.know(name);
        async move {
            while AssertUnwindSafe(async { task(&mut state).await })
                .catch_unwind()
                .await
                .is_err()
            {
                self.panicked(name);
                sleep(PAUSE).await;
            }
        }
    }

    /// As [`Tasks::spawn`], on the calling thread.
    pub fn run<T>(&self, name: &'static str, mut state: T, task: impl Fn(&mut T)) {
        self.know(name);
        while catch_unwind(AssertUnwindSafe(|| task(&mut state))).is_err() {
            self.panicked(name);
            thread::sleep(PAUSE);
        }
    }

    /// How often tasks have begun anew, by their name. A name is there from its first task on.
    pub fn restarts(&self) -> Vec<(&'static str, u64)> {
        let records = self.records();
        let counts = records
            .iter()
            .map(|(&name, record)| (name, record.restarts));
        counts.collect()
    }

    /// Which tasks have panicked within the last minute, for people. None: all is well.
    pub fn fault(&self) -> Option<String> {
        let records = self.records();
        let of_late = records.iter().filter(|(_, record)| {
            let latest = record.latest;
            latest.is_some_and(|at| at.elapsed() < OF_LATE)
        });
        let names: Vec<_> = of_late.map(|(name, _)| format!("`{name}`")).collect();
        let names = names.join(", ");
        (!names.is_empty()).then(|| format!("the task {names} has panicked and begun anew"))
    }

    fn know(&self, name: &'static str) {
        self.records().entry(name).or_default();
    }

    fn panicked(&self, name: &'static str) {
        tracing::error!(
            task = name,
            "a task has panicked, which is a bug; it begins anew"
        );
        let mut records = self.records();
        let record = records.entry(name).or_default();
        record.restarts += 1;
        record.latest = Some(Instant::now());
    }

    /// No update is ever left half done by a panic, so a poisoned lock is as good as any.
    fn records(&self) -> MutexGuard<'_, BTreeMap<&'static str, Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{sync::mpsc, time::advance};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_goes_on_with_the_work_that_waits() {
        let tasks = Tasks::default();
        let (send, jobs) = mpsc::channel(8);
        let (done, mut results) = mpsc::channel(8);
        let task = tasks.spawn("queue", (jobs, done), |(jobs, done)| {
            async move {
                while let Some(job) = jobs.recv().await {
                    assert_ne!(job, 13, "bad luck");
                    done.send(job).await.expect("read");
                }
            }
            .boxed()
        });
        assert_eq!(tasks.restarts(), [("queue", 0)]);
        assert_eq!(tasks.fault(), None);
        for job in [1, 13, 13, 2] {
            send.send(job).await.expect("taken");
        }
        assert_eq!(results.recv().await, Some(1));
        assert_eq!(results.recv().await, Some(2), "after two panics");
        assert_eq!(tasks.restarts(), [("queue", 2)]);
        drop(send);
        task.await.expect("it ends by itself, and so is over");
        assert_eq!(results.recv().await, None);
        let fault = "the task `queue` has panicked and begun anew";
        assert_eq!(tasks.fault().as_deref(), Some(fault));
        advance(OF_LATE).await;
        assert_eq!(tasks.fault(), None, "it is long ago");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_before_its_first_await_begins_anew_too() {
        let tasks = Tasks::default();
        let task = tasks.spawn("odd", 0, |runs| {
            *runs += 1;
            assert!(*runs > 2, "too early");
            async {}.boxed()
        });
        task.await.expect("the third run ends");
        assert_eq!(tasks.restarts(), [("odd", 2)]);
    }

    #[test]
    fn work_on_a_thread_begins_anew() {
        let tasks = Tasks::default();
        tasks.run("thread", vec![1, 2, 3], |jobs| {
            while let Some(job) = jobs.pop() {
                assert_ne!(job, 2, "bad luck");
            }
        });
        assert_eq!(tasks.restarts(), [("thread", 1)]);
    }
}
