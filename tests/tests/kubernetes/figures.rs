//! How long something took, several times.

use std::time::Duration;

/// The times, of which no test asserts more than that they are not absurd. `--nocapture` shows them.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<Duration>);

impl Figures {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
        self.0.sort_unstable();
    }

    /// Zero if there are none.
    pub(crate) fn median(&self) -> Duration {
        self.0.get(self.0.len() / 2).copied().unwrap_or_default()
    }

    pub(crate) fn print(&self, of: &str) {
        let max = self.0.last().copied().unwrap_or_default();
        let count = self.0.len();
        println!(
            "{of}: median {:.0?}, max {max:.0?} of {count}",
            self.median()
        );
    }
}
