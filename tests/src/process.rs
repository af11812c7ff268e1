//! A child process that ends with its value.

use std::{io, process::Stdio};

use anyhow::{Context, Result};
use nix::{sys::signal::Signal, unistd::Pid};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::PATIENCE;

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `command`; its output is not shown unless redirected before.
    pub fn start(command: &mut Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                format!("cannot start {}", command.as_std().get_program().display())
            })?;
        Ok(Self { child })
    }

    /// The child itself, to wait for it or to read its output.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The first line that it says on its standard output, which must be piped. What it says later
    /// stays unread.
    pub async fn greeting(&mut self) -> Result<String> {
        let stdout = self.child.stdout.as_mut().context("stdout is piped")?;
        let mut line = String::new();
        timeout(PATIENCE, BufReader::new(stdout).read_line(&mut line)).await??;
        Ok(line.trim_end().to_owned())
    }

    /// Sends `signal`.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        let id = self.child.id().context("the process has ended")?;
        let id = i32::try_from(id)?;
        Ok(nix::sys::signal::kill(Pid::from_raw(id), signal)?)
    }

    /// Kills the process and waits until it is gone.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }
}
