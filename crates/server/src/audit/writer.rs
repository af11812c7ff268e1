//! The thread that writes the audit stream.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

/// The most lines that wait to be written; about half a megabyte.
const MAX_WAITING: usize = 1_024;

/// Takes lines as long as it has room, and never waits.
#[derive(Debug)]
pub(super) struct Writer(SyncSender<Work>);

enum Work {
    Line(String),
    /// To be told when all before it is written.
    Flush(oneshot::Sender<()>),
}

impl Writer {
    /// Starts to write to `to`. The thread ends with this value.
    pub(super) fn start(to: impl Write + Send + 'static) -> io::Result<Self> {
        let (work, waiting) = sync_channel(MAX_WAITING);
        let thread = thread::Builder::new().name("audit".to_owned());
        thread.spawn(move || write_all(to, &waiting))?;
        Ok(Self(work))
    }

    /// Whether there was room for `line`.
    pub(super) fn write(&self, line: String) -> bool {
        self.0.try_send(Work::Line(line)).is_ok()
    }

    /// Waits until what was taken so far is written, no longer than `patience`.
    pub(super) async fn flush(&self, patience: Duration) {
        let (written, told) = oneshot::channel();
        if self.0.try_send(Work::Flush(written)).is_err() || timeout(patience, told).await.is_err()
        {
            tracing::warn!("the last lines of the audit stream are not written yet");
        }
    }
}

fn write_all(mut to: impl Write, waiting: &Receiver<Work>) {
    let mut is_failing = false;
    for work in waiting {
        let line = match work {
            Work::Line(line) => line,
            Work::Flush(written) => {
                // Whoever waited may have gone.
                let _ = written.send(());
                continue;
            }
        };
        let outcome = to.write_all(line.as_bytes()).and_then(|()| to.flush());
        match &outcome {
            Err(error) if !is_failing => {
                tracing::error!(%error, "the audit stream cannot be written; its lines are lost");
            }
            Ok(()) if is_failing => tracing::info!("the audit stream is written again"),
            _ => {}
        }
        is_failing = outcome.is_err();
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
