//! The audit stream: one JSON line for each denial, for who must be able to say later who was denied
//! what, and when.
//!
//! ```text
//! denial -> Sampling: is it shown? -> Line, with pseudonyms -> a bounded channel -> Writer, a thread
//! ```
//!
//! Writing never holds up a call: what the writer cannot take is dropped and counted, and the next
//! line says how many are missing.

mod line;
mod pseudonym;
mod sampling;
mod writer;

use std::{
    fmt,
    io::{self, stdout},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use toolgate_limit::Clock;
use toolgate_tasks::Tasks;

pub use pseudonym::{Salt, SaltError};

use crate::{
    AuditConfig, AuditDestination,
    observe::{Decided, Observer},
};
use line::Line;
use sampling::Sampling;
use writer::{AppendedFile, Writer};

/// How long the end of a limiter waits for lines that are not written yet.
const LAST_LINES_WITHIN: Duration = Duration::from_secs(1);

/// Why there is no audit stream.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Users would have no pseudonyms.
    #[error("audit.saltFile: {}", path.display())]
    Salt {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SaltError,
    },
    /// The file cannot be appended to.
    #[error("audit.to: cannot append to {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no thread to write on.
    #[error("audit: cannot start its writer")]
    Thread(#[source] io::Error),
}

/// Writes denials of all workers. Clones are the same stream.
#[derive(Clone, Debug)]
pub(crate) struct Audit(Arc<Stream>);

struct Stream {
    salt: Salt,
    clock: Arc<dyn Clock>,
    sampling: Mutex<Sampling>,
    writer: Writer,
}

impl Audit {
    /// Opens the stream, and starts the thread that writes.
    pub(crate) fn open(
        config: &AuditConfig,
        clock: Arc<dyn Clock>,
        tasks: &Tasks,
    ) -> Result<Self, AuditError> {
        let salt = Salt::read(&config.salt_file).map_err(|source| AuditError::Salt {
            path: config.salt_file.clone(),
            source,
        })?;
        let writer = match &config.to {
            AuditDestination::Stdout => Writer::start(stdout(), tasks),
            AuditDestination::File(path) => {
                let file = AppendedFile::open(path).map_err(|source| AuditError::Open {
                    path: path.clone(),
                    source,
                })?;
                Writer::start(file, tasks)
            }
        };
        let sampling = Sampling::new(config.sample_ratio, config.max_per_second, clock.now());
        Ok(Self(Arc::new(Stream {
            salt,
            clock,
            sampling: Mutex::new(sampling),
            writer: writer.map_err(AuditError::Thread)?,
        })))
    }

    /// Waits until what was denied so far is written, but not for long.
    pub(crate) async fn flush(&self) {
        self.0.writer.flush(LAST_LINES_WITHIN).await;
    }
}

impl Observer for Audit {
    fn decided(&self, decided: &Decided<'_>) {
        for (check, answer, denial) in decided.denials() {
            let now = self.0.clock.now();
            let mut sampling = self.0.sampling();
            if !sampling.shows(now) {
                continue;
            }
            sampling.drop_some(self.0.writer.take_lost());
            let line = Line {
                time: now,
                check,
                denial,
                is_shadow: answer.decision.is_allowed(),
                is_degraded: answer.degraded,
                dropped: sampling.dropped(),
            };
            // Under the lock, so that a line that says what is missing follows on it.
            if self.0.writer.write(line.to_json(&self.0.salt)) {
                sampling.shown();
            } else {
                sampling.drop_some(1);
            }
        }
    }
}

impl Stream {
    /// No update is ever left half done by a panic, so a poisoned lock is as good as any.
    fn sampling(&self) -> std::sync::MutexGuard<'_, Sampling> {
        self.sampling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
