//! When a backend's lists are looked at: not more often than once a second, however often its
//! backend says that they have changed, or callers ask for what is not in them.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// The least time from the beginning of one look to that of the next.
pub(super) const LEAST_GAP: Duration = Duration::from_secs(1);

/// The wish for a look. However many wish for one, they get one.
#[derive(Debug, Default)]
pub(super) struct Look {
    told: Notify,
    wanted: AtomicBool,
}

impl Look {
    pub(super) fn ask(&self) {
        self.wanted.store(true, Ordering::SeqCst);
        self.told.notify_one();
    }

    /// Whether one is wanted that has not begun.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    /// Until somebody asks, if nobody has. Who stops to wait loses nothing.
    pub(super) async fn asked(&self) {
        while !self.is_wanted() {
            self.told.notified().await;
        }
    }

    /// A look begins now: what changes from here on wants another one.
    pub(super) fn begins(&self) -> Instant {
        self.wanted.store(false, Ordering::SeqCst);
        Instant::now()
    }
}

/// When the looks of one connection were.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<Instant>,
}

impl Pace {
    /// Waits until the next look may begin. The first may at once.
    pub(super) async fn turn(&self) {
        if let Some(last) = self.last {
            sleep_until(last + LEAST_GAP).await;
        }
    }

    pub(super) const fn looked(&mut self, at: Instant) {
        self.last = Some(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn looks_begin_a_second_apart_but_for_the_first() {
        let (look, mut pace) = (Look::default(), Pace::default());
        let start = Instant::now();
        let mut looks = Vec::new();
        for _ in 0..3 {
            // A storm.
            for _ in 0..1_000 {
                look.ask();
            }
            look.asked().await;
            pace.turn().await;
            assert!(look.is_wanted());
            let begun = look.begins();
            assert!(!look.is_wanted());
            pace.looked(begun);
            looks.push(begun - start);
        }
        assert_eq!(looks, [Duration::ZERO, LEAST_GAP, LEAST_GAP * 2]);
    }
}
