//! Policies from files, and again whenever one changes.
//!
//! The operating system says when to look (`notify`), and a slow clock says it too, because such
//! messages get lost, do not exist on some network file systems, and are limited in number on a
//! busy node. Looking is cheap: only new content is parsed (see `reload.rs`).

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use tokio::sync::watch;
use toolgate_limit::ServerId;

use crate::{
    Diagnostics, Registry,
    reload::{Look, Reloader},
};

use announced::Announced;
use folders::Folders;

mod announced;
mod folders;

/// How long it takes from one look to the next while something new is not at rest.
pub(crate) const DEBOUNCE: Duration = Duration::from_millis(100);

/// How often files are looked at without being told to.
const RECHECK: Duration = Duration::from_secs(10);

/// Files and folders of manifests.
///
/// ```no_run
/// use std::sync::Arc;
/// use toolgate_limit::SystemClock;
/// use toolgate_policy::{FileSource, Registry};
///
/// let registry = Arc::new(Registry::new(Arc::new(SystemClock::new())));
/// let mut source = FileSource::new(vec!["policies/".into()]);
/// source.load(&registry)?; // with an error here a limiter does not start
/// let watch = source.watch(Arc::clone(&registry))?;
/// // Changes come into force until the watch is dropped.
/// drop(watch);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FileSource {
    reloader: Reloader,
    recheck: Duration,
}

impl FileSource {
    /// The manifests at `paths`; see [`read_paths`](crate::read_paths) for what is read.
    pub const fn new(paths: Vec<PathBuf>) -> Self {
        Self {
            reloader: Reloader::new(paths),
            recheck: RECHECK,
        }
    }

    /// The limits of `server` in the configuration `file` of a gateway; see
    /// [`read_inline`](crate::read_inline). Here it is an error if there are none.
    pub fn inline(file: PathBuf, server: ServerId) -> Self {
        Self {
            reloader: Reloader::inline(file, server),
            recheck: RECHECK,
        }
    }

    /// The same source, for which a start without any policy is no error if `allow_empty`. Policies that
    /// vanish later are one all the same.
    #[must_use]
    pub fn allow_empty(self, allow_empty: bool) -> Self {
        Self {
            reloader: self.reloader.allow_empty(allow_empty),
            ..self
        }
    }

    /// The same source, looked at every `recheck` even if no change is announced. Default: 10 s.
    #[must_use]
    pub fn recheck_every(self, recheck: Duration) -> Self {
        Self { recheck, ..self }
    }

    /// Reads the files and puts their policies into force. If there is any error nothing comes
    /// into force; all diagnostics are returned and recorded in the registry as well.
    ///
    /// It reads on the calling thread.
    pub fn load(&mut self, registry: &Registry) -> Result<(), Diagnostics> {
        self.reloader.load(registry)
    }

    /// Keeps `registry` up to date, from a thread of its own, until the watch is dropped. What has
    /// changed since [`FileSource::load`] is found as well. Fails only if no thread can be started;
    /// where changes are not announced, looking every now and then remains.
    pub fn watch(self, registry: Arc<Registry>) -> io::Result<Watch> {
        // One place: a look that is already due need not be asked for again.
        let (wake, due) = sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        let (running, ended) = watch::channel(());
        let watcher = Watcher {
            reloader: self.reloader,
            registry,
            recheck: self.recheck,
            due,
            stop: Arc::clone(&stop),
            announced: Arc::new(Announced::new(wake.clone())),
        };
        thread::Builder::new()
            .name("toolgate-policy".to_owned())
            .spawn(move || {
                let _running = running; // dropped by a panic too
                watcher.run();
            })?;
        Ok(Watch { wake, stop, ended })
    }
}

/// Keeps a registry up to date while it lives. Dropping it stops that, without waiting.
#[derive(Debug)]
#[must_use = "dropping it stops the watch"]
pub struct Watch {
    wake: SyncSender<()>,
    stop: Arc<AtomicBool>,
    ended: watch::Receiver<()>,
}

impl Watch {
    /// Waits until nothing keeps the registry up to date any more, which only a panic does.
    pub async fn ended(&mut self) {
        // Nothing is ever sent.
        while self.ended.changed().await.is_ok() {}
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // If there is no place the thread is about to wake anyway.
        let _ = self.wake.try_send(());
    }
}

struct Watcher {
    reloader: Reloader,
    registry: Arc<Registry>,
    recheck: Duration,
    due: Receiver<()>,
    stop: Arc<AtomicBool>,
    announced: Arc<Announced>,
}

impl Watcher {
    fn run(mut self) {
        let mut folders = Folders::new(Arc::clone(&self.announced));
        loop {
            // Before the look, so that nothing changes unannounced after it.
            folders.watch(self.reloader.paths());
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            let look = self.reloader.look(&self.registry, &*self.announced);
            let wait = match look {
                Look::Unsettled => DEBOUNCE,
                Look::Unchanged | Look::Told => self.recheck,
            };
            match self.due.recv_timeout(wait) {
                // A burst of changes makes one look.
                Ok(()) if !self.stop.load(Ordering::Acquire) => thread::sleep(DEBOUNCE),
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // Announced before this look, and seen by it.
            while self.due.try_recv().is_ok() {}
        }
    }
}

#[cfg(test)]
mod tests;
