//! A terminal with a command in it.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    num::NonZeroU16,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::{Context as _, Result};
use nix::{
    pty::{Winsize, openpty},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::termios::{LocalModes, tcgetattr, tcsetwinsize};
use tokio::{
    process::{Child, Command},
    time::timeout,
};
use vt100::Parser;

use crate::{PATIENCE, eventually};

/// A pseudo-terminal, and what an emulator would show of it. Dropping it kills the command.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    /// The end at which a person would sit.
    user: File,
    shown: Arc<Mutex<Shown>>,
}

struct Shown {
    screen: Parser,
    /// All that was written, as it was.
    written: Vec<u8>,
}

impl Terminal {
    /// Runs `command` in a terminal of so many columns and rows.
    pub fn start(command: &mut Command, (columns, rows): (u16, u16)) -> Result<Self> {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(&size, None)?;
        let slave = || Ok::<_, std::io::Error>(Stdio::from(pty.slave.try_clone()?));
        command
            .stdin(slave()?)
            .stdout(slave()?)
            .stderr(slave()?)
            .kill_on_drop(true);
        let child = command.spawn();
        // The command holds its side of the terminal as long as it could run once more; once it is
        // closed by all, there is no more to read.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let shown = Arc::new(Mutex::new(Shown {
            screen: Parser::new(cells(rows)?, cells(columns)?, 0),
            written: Vec::new(),
        }));
        let user = File::from(pty.master);
        let (reader, screen) = (user.try_clone()?, Arc::clone(&shown));
        thread::spawn(move || show(reader, &screen));
        Ok(Self {
            child: child.context("it runs")?,
            user,
            shown,
        })
    }

    /// Types `keys`, as bytes that a terminal sends for them.
    pub fn type_keys(&mut self, keys: &str) -> Result<()> {
        Ok(self.user.write_all(keys.as_bytes())?)
    }

    /// Changes its size, and tells the command, as the system would tell all that run in it.
    pub fn resize(&mut self, (columns, rows): (u16, u16)) -> Result<()> {
        let size = rustix::termios::Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let mut shown = self.shown();
        let screen = shown.screen.screen_mut();
        screen.set_size(cells(rows)?, cells(columns)?);
        drop(shown);
        tcsetwinsize(&self.user, size)?;
        self.signal(Signal::SIGWINCH)
    }

    /// Sends `signal` to the command.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = self.child.id().context("the command has ended")?;
        Ok(kill(Pid::from_raw(i32::try_from(id)?), signal)?)
    }

    /// The screen as it is now, line by line.
    pub fn text(&self) -> String {
        self.shown().screen.screen().contents()
    }

    /// All that the command has written so far, escape sequences too.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.shown().written).into_owned()
    }

    /// Waits until the screen fulfils `wish`, and returns it.
    ///
    /// # Panics
    ///
    /// When it does not for as long as a very busy machine could need.
    pub async fn until(&self, what: &str, wish: impl Fn(&str) -> bool) -> String {
        eventually(what, async || {
            let text = self.text();
            wish(&text).then_some(text)
        })
        .await
    }

    /// Waits until the command ends.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        Ok(timeout(PATIENCE, self.child.wait()).await??)
    }

    /// Whether it is as it was before the command: it shows what is typed, by the line, with a
    /// cursor, on the screen that scrolls.
    pub fn is_restored(&self) -> Result<bool> {
        let modes = tcgetattr(&self.user)?.local_modes;
        let shown = self.shown();
        let screen = shown.screen.screen();
        Ok(
            modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
                && !screen.alternate_screen()
                && !screen.hide_cursor(),
        )
    }

    /// Waits until it [is restored](Self::is_restored): the last that the command has written may
    /// not be read when it ends.
    ///
    /// # Panics
    ///
    /// When it is not.
    pub async fn until_restored(&self, when: &str) {
        let is_restored = async || self.is_restored().ok()?.then_some(());
        eventually(&format!("a terminal as before, {when}"), is_restored).await;
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cells(count: u16) -> Result<NonZeroU16> {
    NonZeroU16::new(count).context("a terminal has a size")
}

/// Reads until nobody has the other side any more.
fn show(mut reader: File, shown: &Mutex<Shown>) {
    let mut bytes = [0; 4_096];
    while let Ok(read) = reader.read(&mut bytes)
        && read > 0
    {
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.screen.process(&bytes[..read]);
        shown.written.extend(&bytes[..read]);
    }
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown")
            .field("written", &self.written.len())
            .finish_non_exhaustive()
    }
}
