//! A backend that is a child process: a message a line, on its standard input and output.

use std::{io, process::Stdio, sync::Arc, time::Duration};

use rmcp::{
    RoleClient,
    model::{ClientJsonRpcMessage, ServerJsonRpcMessage},
    transport::Transport,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::answer;
use crate::json::unmarked_bytes;

mod input;
mod lines;
mod skim;

use input::Input;
use lines::{Line, Lines};
use skim::Skim;

/// How long a child may take to end once it is asked to.
const END_WITHIN: Duration = Duration::from_secs(3);

/// The child, which ends when it is dropped.
#[derive(Debug)]
pub(super) struct ChildProcess {
    child: Child,
    input: Arc<Input>,
    output: Lines<ChildStdout>,
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
            input: Input::to(input),
            output: Lines::of(output),
        })
    }

    async fn has_ended(&mut self) -> bool {
        timeout(END_WITHIN, self.child.wait()).await.is_ok()
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.input.end();
    }
}

/// The message in `line`. What is no message says nothing: some programs log to their standard output.
/// An answer that cannot be read, or is too large, ends its request all the same.
fn message_in(line: Line) -> Option<ServerJsonRpcMessage> {
    match line {
        Line::Whole(line) => match answer::read(&line) {
            Some((message, _)) => Some(message),
            None => Some(answer::unreadable(&Skim::of(&line).answered()?)),
        },
        Line::TooLong(id) => Some(answer::too_large(&id?)),
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
            input.write(line).await
        };
        // A line that has begun is written to its end, whoever waits for that.
        async move { tokio::spawn(write).await? }
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            let line = tokio::select! {
                () = self.input.has_ended() => return None,
                line = self.output.next() => line?,
            };
            if let Some(message) = message_in(line) {
                return Some(message);
            }
        }
    }

    /// As MCP says: its input is closed, then it is asked to end, then it is killed.
    async fn close(&mut self) -> io::Result<()> {
        self.input.close().await;
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
