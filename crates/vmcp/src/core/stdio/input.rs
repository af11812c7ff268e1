//! What a child is told, a line at a time. A child that reads nothing holds up no more than this.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{io::AsyncWriteExt as _, process::ChildStdin, sync::Mutex, time::timeout};
use tokio_util::sync::CancellationToken;

/// A child that has not taken a line for so long reads no more: it is ended. Requests to it have
/// failed by then.
const TAKEN_WITHIN: Duration = Duration::from_mins(1);

/// The most bytes of lines that wait to be taken; above that lines are refused.
const MOST_WAITING: usize = 64 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Input {
    /// None once it is closed.
    pipe: Mutex<Option<ChildStdin>>,
    /// Ends all that is being written or waits for it.
    ended: CancellationToken,
    waiting: AtomicUsize,
}

impl Input {
    pub(super) fn to(pipe: ChildStdin) -> Arc<Self> {
        Arc::new(Self {
            pipe: Mutex::new(Some(pipe)),
            ended: CancellationToken::new(),
            waiting: AtomicUsize::new(0),
        })
    }

    /// Writes `line` when those before it are written.
    pub(super) async fn write(&self, line: Vec<u8>) -> io::Result<()> {
        let _waits = Waits::begin(&self.waiting, line.len())?;
        let write = async {
            let mut pipe = self.pipe.lock().await;
            let pipe = pipe.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            pipe.write_all(&line).await?;
            pipe.flush().await
        };
        let written = tokio::select! {
            () = self.ended.cancelled() => return Err(io::ErrorKind::NotConnected.into()),
            written = timeout(TAKEN_WITHIN, write) => written,
        };
        written.unwrap_or_else(|_| {
            tracing::warn!(within = ?TAKEN_WITHIN, "a child takes no line any more and is ended");
            self.end();
            Err(io::ErrorKind::TimedOut.into())
        })
    }

    /// Writes no more.
    pub(super) fn end(&self) {
        self.ended.cancel();
    }

    pub(super) async fn has_ended(&self) {
        self.ended.cancelled().await;
    }

    /// Closes the pipe. A line that the child does not take is left unfinished.
    pub(super) async fn close(&self) {
        self.end();
        drop(self.pipe.lock().await.take());
    }
}

/// Bytes that wait, until it is dropped.
#[derive(Debug)]
struct Waits<'a> {
    all: &'a AtomicUsize,
    bytes: usize,
}

impl<'a> Waits<'a> {
    fn begin(all: &'a AtomicUsize, bytes: usize) -> io::Result<Self> {
        let before = all.fetch_add(bytes, Ordering::SeqCst);
        let waits = Self { all, bytes };
        // One line alone may be of any length.
        if before > 0 && before.saturating_add(bytes) > MOST_WAITING {
            return Err(io::Error::other("too much waits to be read by it"));
        }
        Ok(waits)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use tokio::{process::Command, task::JoinSet};

    use super::*;

    /// Lines went on waiting after their callers had gone, without a bound, and kept the pipe from
    /// being closed.
    #[tokio::test]
    async fn a_child_that_reads_nothing_is_written_to_within_bounds_and_closed() {
        let mut command = Command::new("sleep");
        command.arg("1000").stdin(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let input = Input::to(child.stdin.take().unwrap());
        let mut writes = JoinSet::new();
        for _ in 0..65 {
            let input = Arc::clone(&input);
            writes.spawn(async move { input.write(vec![b'x'; 1024 * 1024]).await });
        }
        let refused = writes.join_next().await.unwrap().unwrap().unwrap_err();
        assert_eq!(refused.to_string(), "too much waits to be read by it");
        assert_eq!(input.waiting.load(Ordering::SeqCst), MOST_WAITING);
        timeout(Duration::from_secs(10), input.close())
            .await
            .expect("it is closed");
        while let Some(ended) = writes.join_next().await {
            let ended = ended.unwrap().unwrap_err();
            assert_eq!(ended.kind(), io::ErrorKind::NotConnected);
        }
        assert_eq!(input.waiting.load(Ordering::SeqCst), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_that_takes_no_line_in_time_is_ended() {
        let (reader, writer) = std::io::pipe().unwrap();
        let pipe = std::os::fd::OwnedFd::from(writer);
        let pipe = ChildStdin::from_std(std::process::ChildStdin::from(pipe)).unwrap();
        let input = Input::to(pipe);
        let late = input.write(vec![b'x'; 1024 * 1024]).await.unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        input.has_ended().await;
        drop(reader);
    }
}
