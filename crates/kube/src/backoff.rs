//! How long to wait until the next try.

use std::time::Duration;

use tokio::time::sleep;

/// Waits between tries: `first`, doubling to `most`.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            next: first,
        }
    }

    pub(crate) async fn wait(&mut self) {
        sleep(self.step()).await;
    }

    fn step(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(self.most);
        // Half of it by chance: replicas that failed together try apart.
        now / 2 + now.mul_f64(fastrand::f64() / 2.0)
    }

    pub(crate) const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_with_jitter_up_to_the_longest() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        for most in [1, 2, 4, 5, 5] {
            let step = backoff.step();
            let most = Duration::from_secs(most);
            assert!((most / 2..=most).contains(&step), "{step:?}");
        }
        backoff.reset();
        assert!(backoff.step() <= Duration::from_secs(1));
    }
}
