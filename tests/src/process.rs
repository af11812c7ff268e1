//! A child process that ends with its value.

use std::{io, process::Stdio};

use anyhow::{Context, Result};
use tokio::process::{Child, Command};

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

    /// Kills the process and waits until it is gone.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }
}
