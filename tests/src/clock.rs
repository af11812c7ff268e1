//! A wall clock for a real Redis that a test turns by hand.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context, Result, ensure};
use toolgate_limit::Timestamp;

/// The clock that a [`crate::RedisServer`] sees. It stands still until it is turned.
#[derive(Debug)]
pub struct TurnedClock {
    file: File,
    folder: tempfile::TempDir,
}

impl TurnedClock {
    /// A clock that shows `now`.
    pub fn new(now: Timestamp) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let clock = Self {
            file: File::create(folder.path().join("clock"))?,
            folder,
        };
        clock.set(now)?;
        Ok(clock)
    }

    /// Turns the clock to `now`, forward or back.
    pub fn set(&self, now: Timestamp) -> Result<()> {
        let bytes = now.as_micros().to_ne_bytes();
        Ok(self.file.write_all_at(&bytes, 0)?)
    }

    /// Makes a process that `command` will start see this clock.
    pub(crate) fn show_to(&self, command: &mut tokio::process::Command) -> Result<()> {
        command
            .env("LD_PRELOAD", shim()?)
            .env("TOOLGATE_TEST_CLOCK", self.folder.path().join("clock"));
        Ok(())
    }
}

/// The preloaded library, compiled once for this process.
fn shim() -> Result<&'static Path> {
    static SHIM: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    if let Some((_, library)) = SHIM.get() {
        return Ok(library);
    }
    let folder = tempfile::tempdir()?;
    let library = folder.path().join("turned.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/clock/turned.c");
    let compiled = Command::new("cc")
        .args(["-O1", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(source)
        .status()
        .context("the C compiler that Rust links with is needed: cc")?;
    ensure!(compiled.success(), "{source} does not compile");
    Ok(&SHIM.get_or_init(|| (folder, library)).1)
}
