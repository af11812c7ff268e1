//! A backend that is a child process: a message a line, on its standard input and output.

use std::{io, process::Stdio, sync::Arc, time::Duration};

use rmcp::{
    RoleClient,
    model::{ClientJsonRpcMessage, ServerJsonRpcMessage},
    transport::Transport,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Mutex,
    time::timeout,
};

use super::answer;
use crate::json::unmarked_bytes;

/// How long a child may take to end once it is asked to.
const END_WITHIN: Duration = Duration::from_secs(3);

/// The child, which ends when it is dropped.
#[derive(Debug)]
pub(super) struct ChildProcess {
    child: Child,
    /// None once it is closed.
    input: Arc<Mutex<Option<ChildStdin>>>,
    output: Lines,
}

impl ChildProcess {
    /// Starts `command`. Its standard error is this process's.
    pub(super) fn spawn(mut command: Command) -> io::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()?;
        let gone = || io::Error::other("it has no standard input or output");
        let input = child.stdin.take().ok_or_else(gone)?;
        let output = child.stdout.take().ok_or_else(gone)?;
        Ok(Self {
            child,
            input: Arc::new(Mutex::new(Some(input))),
            output: Lines {
                read: BufReader::new(output),
                line: Vec::new(),
                is_skipping: false,
            },
        })
    }

    async fn has_ended(&mut self) -> bool {
        timeout(END_WITHIN, self.child.wait()).await.is_ok()
    }
}

impl Transport<RoleClient> for ChildProcess {
    type Error = io::Error;

    fn send(
        &mut self,
        message: ClientJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let input = Arc::clone(&self.input);
        let write = async move {
            let mut line = unmarked_bytes(serde_json::to_vec(&message)?);
            line.push(b'\n');
            let mut input = input.lock().await;
            let input = input.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            input.write_all(&line).await?;
            input.flush().await
        };
        // A line that has begun is written to its end, whoever waits for that.
        async move { tokio::spawn(write).await? }
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            let line = self.output.next().await?;
            // What is no message says nothing: some programs log to their standard output.
            if let Some((message, _)) = answer::read(&line) {
                return Some(message);
            }
        }
    }

    /// As MCP says: its input is closed, then it is asked to end, then it is killed.
    async fn close(&mut self) -> io::Result<()> {
        drop(self.input.lock().await.take());
        if self.has_ended().await {
            return Ok(());
        }
        let pid = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(id.try_into().ok()?));
        if let Some(pid) = pid
            && kill_process(pid, Signal::TERM).is_ok()
            && self.has_ended().await
        {
            return Ok(());
        }
        self.child.kill().await
    }
}

/// Lines, as they come.
#[derive(Debug)]
struct Lines {
    read: BufReader<ChildStdout>,
    /// What has come of the next one: a wait that is dropped loses nothing.
    line: Vec<u8>,
    /// The rest of a line that is too long.
    is_skipping: bool,
}

impl Lines {
    /// The next one that is not too long. None at the end, or if there is no reading on.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let there = self.read.fill_buf().await.ok()?;
            if there.is_empty() {
                return None;
            }
            let end = there.iter().position(|byte| *byte == b'\n');
            let part = &there[..end.unwrap_or(there.len())];
            if self.line.len() + part.len() > answer::MAX_BYTES {
                tracing::warn!(most = answer::MAX_BYTES, "a line of a backend is too long");
                self.line = Vec::new();
                self.is_skipping = true;
            } else if !self.is_skipping {
                self.line.extend_from_slice(part);
            }
            let taken = part.len() + usize::from(end.is_some());
            self.read.consume(taken);
            if end.is_some() && !std::mem::take(&mut self.is_skipping) {
                return Some(std::mem::take(&mut self.line));
            }
        }
    }
}
