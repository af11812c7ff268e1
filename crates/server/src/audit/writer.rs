//! The thread that writes the audit stream.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};
use toolgate_tasks::Tasks;

/// The most lines that wait to be written; about half a megabyte.
const MAX_WAITING: usize = 1_024;

/// How often room for the wish to flush is looked for.
const PAUSE: Duration = Duration::from_millis(5);

/// Takes lines as long as it has room, and never waits.
#[derive(Debug)]
pub(super) struct Writer {
    work: SyncSender<Work>,
    lost: Arc<AtomicU64>,
}

enum Work {
    Line(String),
    /// To be told when all before it is written.
    Flush(oneshot::Sender<()>),
}

impl Writer {
    /// Starts to write to `to`, on a thread that is one of `tasks`. It ends with this value.
    pub(super) fn start(to: impl Write + Send + 'static, tasks: &Tasks) -> io::Result<Self> {
        let (work, waiting) = sync_channel(MAX_WAITING);
        let lost = Arc::<AtomicU64>::default();
        let state = Writing {
            to,
            waiting,
            lost: Arc::clone(&lost),
            is_failing: false,
            is_at_line: false,
        };
        let tasks = tasks.clone();
        let thread = thread::Builder::new().name("audit".to_owned());
        thread.spawn(move || tasks.run("audit", state, Writing::write_all))?;
        Ok(Self { work, lost })
    }

    /// Whether there was room for `line`.
    pub(super) fn write(&self, line: String) -> bool {
        self.work.try_send(Work::Line(line)).is_ok()
    }

    /// Lines that were taken and could not be written, since this was last asked.
    pub(super) fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }

    /// Waits until what was taken so far is written, no longer than `patience`.
    pub(super) async fn flush(&self, patience: Duration) {
        if timeout(patience, self.written()).await.is_err() {
            tracing::warn!("the last lines of the audit stream are not written yet");
        }
    }

    async fn written(&self) {
        let (written, told) = oneshot::channel();
        let mut wish = Work::Flush(written);
        while let Err(TrySendError::Full(again)) = self.work.try_send(wish) {
            wish = again;
            sleep(PAUSE).await;
        }
        // An error means that the thread has ended, and with it the waiting.
        let _ = told.await;
    }
}

/// What the thread works on.
struct Writing<W> {
    to: W,
    waiting: Receiver<Work>,
    lost: Arc<AtomicU64>,
    /// The last line could not be written, and may be there by half.
    is_failing: bool,
    /// A line is being written. If that panics, it is lost.
    is_at_line: bool,
}

impl<W: Write> Writing<W> {
    fn write_all(&mut self) {
        if self.is_at_line {
            self.is_failing = true;
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        while let Ok(work) = self.waiting.recv() {
            match work {
                Work::Line(line) => {
                    self.is_at_line = true;
                    self.write(&line);
                    self.is_at_line = false;
                }
                Work::Flush(written) => {
                    // Whoever waited may have gone.
                    let _ = written.send(());
                }
            }
        }
    }

    fn write(&mut self, line: &str) {
        // What failed may have left half a line.
        let begin: &[u8] = if self.is_failing { b"\n" } else { b"" };
        let to = &mut self.to;
        let outcome = to
            .write_all(begin)
            .and_then(|()| to.write_all(line.as_bytes()))
            .and_then(|()| to.flush());
        match &outcome {
            Err(error) if !self.is_failing => {
                tracing::error!(%error, "the audit stream cannot be written; its lines are lost");
            }
            Ok(()) if self.is_failing => tracing::info!("the audit stream is written again"),
            _ => {}
        }
        self.is_failing = outcome.is_err();
        self.lost
            .fetch_add(self.is_failing.into(), Ordering::Relaxed);
    }
}

/// The end of the file at a path, whatever file that is by now: rotation renames the old one.
#[derive(Debug)]
pub(super) struct AppendedFile {
    path: PathBuf,
    file: File,
}

impl AppendedFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: open(path)?,
        })
    }

    fn was_moved(&self) -> io::Result<bool> {
        let of = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        match std::fs::metadata(&self.path) {
            Ok(at_path) => Ok(of(at_path) != of(self.file.metadata()?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }
}

impl Write for AppendedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.was_moved()? {
            self.file = open(&self.path)?;
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
