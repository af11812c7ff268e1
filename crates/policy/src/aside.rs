//! Work on a thread of its own, which is waited for within a bound.
//!
//! A file system that does not answer keeps a thread in the kernel, where nothing ends it; and a
//! panic ends the thread that it is on. Neither may take along whoever waits.

use std::{
    io,
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread,
    time::Duration,
};

/// The result of work that may not have ended.
#[derive(Debug)]
pub(crate) struct Aside<T>(Receiver<T>);

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoResult {
    #[error("cannot be read: no thread can be started: {0}")]
    Thread(#[from] io::Error),
    #[error("cannot be read: the file system has not answered for {0:?}")]
    Late(Duration),
    #[error("cannot be read: reading it has panicked, which is a fault of this program")]
    Panicked,
}

impl<T: Send + 'static> Aside<T> {
    pub(crate) fn start(work: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        let (done, result) = sync_channel(1);
        thread::Builder::new()
            .name("toolgate-reading".to_owned())
            .spawn(move || {
                // If nobody waits any more, nobody misses it.
                let _ = done.send(work());
            })?;
        Ok(Self(result))
    }

    /// Waits for the result. After [`NoResult::Late`] it may be waited for again.
    pub(crate) fn wait(&self, patience: Duration) -> Result<T, NoResult> {
        self.0.recv_timeout(patience).map_err(|error| match error {
            RecvTimeoutError::Timeout => NoResult::Late(patience),
            RecvTimeoutError::Disconnected => NoResult::Panicked,
        })
    }
}
