//! That something cannot be exported, said once.

use std::{
    error::Error,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

/// Whether exports of one signal fail.
#[derive(Debug)]
pub(crate) struct Outage {
    /// In the plural.
    what: &'static str,
    is_on: AtomicBool,
}

impl Outage {
    pub(crate) const fn new(what: &'static str) -> Self {
        Self {
            what,
            is_on: AtomicBool::new(false),
        }
    }

    /// Logs the first failure, and the first success after it.
    pub(crate) fn saw<E: Error>(&self, result: &Result<(), E>) {
        let what = self.what;
        match result {
            Err(error) if !self.is_on.swap(true, Relaxed) => {
                let error = chain(error);
                tracing::warn!(error, "{what} cannot be exported, and are lost");
            }
            Ok(()) if self.is_on.swap(false, Relaxed) => {
                tracing::info!("{what} are exported again");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// What went wrong, and why.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
