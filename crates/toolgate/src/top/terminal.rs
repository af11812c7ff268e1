//! The terminal: entered, restored on every way out, and read.

use std::{io, thread};

use ratatui::{
    DefaultTerminal, Frame,
    crossterm::event::{self, Event},
};
use tokio::sync::mpsc;

/// Keys that wait to be seen. Somebody holds one down.
const WAITING: usize = 64;

/// A terminal that shows another screen until this is dropped. A panic restores it too.
#[derive(Debug)]
pub(super) struct Screen(DefaultTerminal);

impl Screen {
    pub(super) fn enter() -> io::Result<Self> {
        // What was entered by half is left again.
        ratatui::try_init()
            .map(Self)
            .inspect_err(|_| ratatui::restore())
    }

    pub(super) fn draw(&mut self, show: impl FnOnce(&mut Frame)) -> io::Result<()> {
        self.0.draw(show).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The terminal shows its cursor when it is dropped, which is after this.
        ratatui::restore();
    }
}

/// Keys and changes of size, which a thread waits for that nothing but the end of the process can
/// interrupt.
pub(super) fn events() -> mpsc::Receiver<io::Result<Event>> {
    let (tell, events) = mpsc::channel(WAITING);
    thread::spawn(move || {
        loop {
            let event = event::read();
            let is_last = event.is_err();
            if tell.blocking_send(event).is_err() || is_last {
                return;
            }
        }
    });
    events
}

#[cfg(test)]
mod tests {
    use std::{
        env,
        fs::File,
        io::Read as _,
        process::{Command, Stdio},
    };

    use nix::{
        pty::{Winsize, openpty},
        sys::termios::tcgetattr,
    };

    use super::*;

    /// Tells the test that it is the one in the terminal.
    const IN_TERMINAL: &str = "TOOLGATE_TEST_IN_TERMINAL";

    /// The test runs itself in a terminal, and panics there.
    #[test]
    fn a_panic_leaves_the_terminal_as_it_was() {
        if env::var_os(IN_TERMINAL).is_some() {
            let mut screen = Screen::enter().expect("a terminal");
            let drawn = screen.draw(|frame| frame.render_widget("drawn", frame.area()));
            drawn.expect("drawn");
            panic!("as told");
        }
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(&size, None).expect("a terminal");
        let before = tcgetattr(&pty.master).expect("a terminal");
        let slave = || Stdio::from(pty.slave.try_clone().expect("a file"));
        let test = "top::terminal::tests::a_panic_leaves_the_terminal_as_it_was";
        let mut child = Command::new(env::current_exe().expect("this test"))
            .args(["--exact", test, "--nocapture"])
            .env(IN_TERMINAL, "1")
            .env("TERM", "xterm")
            .stdin(slave())
            .stdout(slave())
            .stderr(slave())
            .spawn()
            .expect("it runs");
        drop(pty.slave);
        let mut user = File::from(pty.master.try_clone().expect("a file"));
        let (mut written, mut bytes) = (Vec::new(), [0; 1_024]);
        // Ends with an error, once nobody has the other side any more.
        while let Ok(read) = user.read(&mut bytes)
            && read > 0
        {
            written.extend(&bytes[..read]);
        }
        assert!(!child.wait().expect("it ends").success());
        let written = String::from_utf8_lossy(&written);
        let mut last = 0;
        // Another screen, the panic on the first one, and a cursor.
        for part in [
            "\x1b[?1049h",
            "drawn",
            "\x1b[?1049l",
            "as told",
            "\x1b[?25h",
        ] {
            let place = written[last..].find(part);
            last += place.unwrap_or_else(|| panic!("{part:?} after {last} in {written:?}"));
        }
        let after = tcgetattr(&pty.master).expect("a terminal");
        assert_eq!(after.local_flags, before.local_flags);
        assert_eq!(after.input_flags, before.input_flags);
    }
}
