//! kubectl, as people run it.

use std::{path::Path, process::Stdio};

use anyhow::{Context as _, Result, bail};
use tokio::{io::AsyncWriteExt as _, process::Command, time::timeout};

use crate::PATIENCE;

/// What it says, or what it complains of.
pub(super) async fn run(kubeconfig: &Path, arguments: &[&str], stdin: &str) -> Result<String> {
    let home = kubeconfig.parent().context("a folder")?;
    let mut kubectl = Command::new("kubectl")
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        // It keeps what kinds it knows there.
        .env("HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("run `make tools`")?;
    let mut pipe = kubectl.stdin.take().context("stdin is piped")?;
    let output = async {
        let write = async {
            // One that does not read to the end says why.
            let _ = pipe.write_all(stdin.as_bytes()).await;
            drop(pipe);
        };
        let ((), output) = tokio::join!(write, kubectl.wait_with_output());
        output
    };
    let output = timeout(2 * PATIENCE, output).await??;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("kubectl {}: {}", arguments.join(" "), complaint.trim_end());
    }
    Ok(String::from_utf8(output.stdout)?)
}
