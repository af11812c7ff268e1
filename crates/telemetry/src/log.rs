//! What is logged, to stderr: one line for each event.

use std::io::{IsTerminal as _, stderr};

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

mod traced;

use traced::Traced;

/// What to log, and how.
#[derive(Debug)]
pub struct Log {
    /// Which events.
    pub filter: EnvFilter,
    /// None: text on a terminal, else JSON.
    pub format: Option<LogFormat>,
}

/// How an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

impl Log {
    pub(crate) fn into_layer(self) -> Box<dyn Layer<Registry> + Send + Sync> {
        let is_terminal = stderr().is_terminal();
        let format = self.format.unwrap_or(if is_terminal {
            LogFormat::Text
        } else {
            LogFormat::Json
        });
        let lines = fmt::layer().with_writer(stderr).with_ansi(is_terminal);
        match format {
            LogFormat::Text => lines.with_filter(self.filter).boxed(),
            LogFormat::Json => {
                let lines = lines.json().map_event_format(Traced);
                lines.with_filter(self.filter).boxed()
            }
        }
    }
}
