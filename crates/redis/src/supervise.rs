//! Tasks that checks depend on, which begin anew if they panic.
//!
//! A task that is gone would leave a store that takes checks and decides none of them.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use tokio::{task::JoinHandle, time::sleep};

/// The pause before a task begins anew.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs `task` on `state`, in a task on the current runtime, until it returns. If it panics, it
/// begins anew with the same state. Whoever waits for what it had under way gets an error.
pub(crate) fn spawn<T: Send + 'static>(
    what: &'static str,
    mut state: T,
    task: impl for<'a> Fn(&'a mut T) -> BoxFuture<'a, ()> + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        // What tasks share is in channels and under locks that are whole after each step, so a panic
        // leaves nothing half done that the next run would trip over.
        while AssertUnwindSafe(task(&mut state))
            .catch_unwind()
            .await
            .is_err()
        {
            tracing::error!(
                task = what,
                "a task has panicked, which is a bug; it begins anew"
            );
            sleep(PAUSE).await;
        }
    })
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_goes_on_with_the_work_that_waits() {
        let (send, jobs) = mpsc::channel(8);
        let (done, mut results) = mpsc::channel(8);
        let task = spawn("a queue", (jobs, done), |(jobs, done)| {
            async move {
                while let Some(job) = jobs.recv().await {
                    assert_ne!(job, 13, "bad luck");
                    done.send(job).await.expect("read");
                }
            }
            .boxed()
        });
        for job in [1, 13, 13, 2] {
            send.send(job).await.expect("taken");
        }
        assert_eq!(results.recv().await, Some(1));
        assert_eq!(results.recv().await, Some(2), "after two panics");
        drop(send);
        task.await.expect("it ends by itself, and so is over");
        assert_eq!(results.recv().await, None);
    }
}
