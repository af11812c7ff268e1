//! Looking at the files again.
//!
//! By the clock and not by messages of the operating system: three small files are read in
//! microseconds, and nobody waits for a new certificate, as the old one is valid for a while yet.

use std::{error::Error, panic::resume_unwind, sync::Arc, time::Duration};

use tokio::{task::spawn_blocking, time::sleep};

use super::{Tls, TlsError, load::Contents};
use crate::TlsFiles;

/// How often files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Keeps certificates up to date with their files.
pub(crate) struct Reload {
    files: TlsFiles,
    read: fn(&TlsFiles) -> Result<Contents, TlsError>,
    tls: Arc<Tls>,
    /// What was read last and put into use, or found wrong and told.
    told: Seen,
    /// What was read at the last look and may still be half written.
    unsettled: Option<Seen>,
}

/// What one look has found: contents, or why there are none.
#[derive(Clone, PartialEq, Eq)]
enum Seen {
    Contents(Contents),
    Unreadable(String),
}

/// What a look came to.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Unchanged,
    Unsettled,
    Renewed,
    Wrong,
}

impl Reload {
    /// The certificates that are in `files` now, and what keeps them up to date.
    pub(crate) fn open(files: &TlsFiles) -> Result<(Arc<Tls>, Self), TlsError> {
        let contents = Contents::read(files)?;
        let tls = Tls::new(contents.to_config(files)?);
        let reload = Self {
            files: files.clone(),
            read: Contents::read,
            tls: Arc::clone(&tls),
            told: Seen::Contents(contents),
            unsettled: None,
        };
        Ok((tls, reload))
    }

    /// Looks at the files now and then, for ever.
    pub(crate) async fn run(&mut self) {
        loop {
            sleep(INTERVAL).await;
            let (read, files) = (self.read, self.files.clone());
            // Whoever mounts the files may make reading them slow.
            match spawn_blocking(move || read(&files)).await {
                Ok(read) => drop(self.look(read)),
                // Nothing ends it but the runtime, and with it this task.
                Err(error) if error.is_cancelled() => return,
                Err(error) => resume_unwind(error.into_panic()),
            }
        }
    }

    /// Something new counts once two looks in a row have found the same: a certificate that is
    /// written before its key would else be told as wrong.
    fn look(&mut self, read: Result<Contents, TlsError>) -> Look {
        let seen = match &read {
            Ok(contents) => Seen::Contents(contents.clone()),
            Err(error) => Seen::Unreadable(in_full(error)),
        };
        if seen == self.told {
            self.unsettled = None;
            return Look::Unchanged;
        }
        if self.unsettled.as_ref() != Some(&seen) {
            self.unsettled = Some(seen);
            return Look::Unsettled;
        }
        self.told = seen;
        self.unsettled = None;
        match read.and_then(|contents| contents.to_config(&self.files)) {
            Ok(config) => {
                self.tls.current.store(Arc::new(config));
                tracing::info!("new TLS certificates are in use for new connections");
                Look::Renewed
            }
            Err(error) => {
                let error = in_full(&error);
                tracing::error!(error, "TLS certificates stay as they were");
                Look::Wrong
            }
        }
    }
}

/// An error with all that lie beneath it.
fn in_full(error: &TlsError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// A private key is in it.
impl std::fmt::Debug for Reload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reload")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
