//! What commands print: tables for people, JSON for scripts.

pub(crate) mod json;
pub(crate) mod manifests;
pub(crate) mod policies;
mod style;
pub(crate) mod table;
pub(crate) mod text;

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Context as _;
use clap::{Args, ValueEnum};

pub(crate) use self::style::{Palette, number};

/// How to print.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// How to print; on a terminal and elsewhere a table, unless json is asked for
    #[arg(long = "output", value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

/// For whom to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For scripts: one object a line, in the JSON form of the API's messages with every field
    /// present, as `grpcurl -emit-defaults` prints it
    Json,
}

/// Standard output, which its reader may close at any time.
#[derive(Debug)]
pub(crate) struct Stdout {
    palette: Palette,
    closed: bool,
}

impl Stdout {
    pub(crate) fn new() -> Self {
        // https://no-color.org: set, and not empty.
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            palette: Palette::new(io::stdout().is_terminal() && !no_colour),
            closed: false,
        }
    }

    pub(crate) const fn palette(&self) -> Palette {
        self.palette
    }

    /// Whether nobody reads any more.
    pub(crate) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Writes `text` and a line feed. A reader that has gone (`| head`) is no error.
    pub(crate) fn print(&mut self, text: &str) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            written => written.context("cannot write to standard output"),
        }
    }
}

/// Says on standard error why a command failed.
pub(crate) fn complain(error: &anyhow::Error) {
    let text = text::printable_lines(&format!("{error:#}"));
    // If standard error is closed too, the exit code is all that is left to say it.
    let _ = writeln!(io::stderr(), "error: {text}");
}
