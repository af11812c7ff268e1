//! What many may ask for at a time, and what takes long to make.

use std::{fmt, sync::Arc};

use tokio::{sync::Mutex, task::spawn_blocking, time::Instant};

/// Makes one after the other, on threads that may block. Whoever asks gets one that was begun
/// after it had asked, and shares it with all who wait meanwhile. Clones share.
pub struct Latest<T>(Arc<Mutex<Option<Made<T>>>>);

struct Made<T> {
    began: Instant,
    value: Arc<T>,
}

impl<T: Send + Sync + 'static> Latest<T> {
    /// What `make` makes of this moment or later. None: it has panicked, or the runtime ends.
    pub async fn make(&self, make: impl FnOnce() -> T + Send + 'static) -> Option<Arc<T>> {
        let asked = Instant::now();
        let mut latest = Arc::clone(&self.0).lock_owned().await;
        if let Some(made) = latest.as_ref().filter(|made| made.began >= asked) {
            return Some(Arc::clone(&made.value));
        }
        let began = Instant::now();
        // To its end, even if whoever asked has gone.
        let making = spawn_blocking(move || {
            let value = Arc::new(make());
            *latest = Some(Made {
                began,
                value: Arc::clone(&value),
            });
            value
        });
        making.await.ok()
    }
}

impl<T> Clone for Latest<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> fmt::Debug for Latest<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latest").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            atomic::{AtomicU32, Ordering},
            mpsc,
        },
        thread,
    };

    use tokio::task::yield_now;

    use super::*;

    /// Each of them copied all, on the thread of its worker.
    #[tokio::test]
    async fn those_who_ask_at_a_time_share_what_is_made_elsewhere() {
        let made = Arc::new(AtomicU32::new(0));
        let latest = Latest::default();
        let here = thread::current().id();
        // The first is made until this is dropped.
        let (release, released) = mpsc::channel::<()>();
        let mut released = Some(released);
        let mut ask = || {
            let (latest, made, released) = (latest.clone(), Arc::clone(&made), released.take());
            let count = move || {
                assert_ne!(thread::current().id(), here);
                let _ = released.map(|released| released.recv());
                made.fetch_add(1, Ordering::Relaxed)
            };
            tokio::spawn(async move { *latest.make(count).await.expect("made") })
        };
        let all: Vec<_> = (0..50).map(|_| ask()).collect();
        // By then each has asked.
        yield_now().await;
        drop(release);
        let mut values = Vec::new();
        for value in all {
            values.push(value.await.expect("no panic"));
        }
        // The second was begun after all the others had asked.
        assert_eq!(values[0], 0);
        assert!(values[1..].iter().all(|value| *value == 1), "{values:?}");
        let last = ask().await.expect("no panic");
        assert_eq!(last, 2, "not one from before");
        assert_eq!(made.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn one_that_panics_is_made_anew() {
        let latest = Latest::<u32>::default();
        assert_eq!(latest.make(|| panic!("bad luck")).await, None);
        assert_eq!(latest.make(|| 7).await.as_deref(), Some(&7));
    }
}
