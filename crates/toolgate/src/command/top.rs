//! `toolgate top`: the activity of limiters, live.

use std::{
    env,
    io::{self, IsTerminal as _},
};

use clap::Args;
use toolgate_limit::GoDuration;

use super::Outcome;
use crate::{
    client::{Endpoint, TlsArgs, positive_duration},
    output::{Format, Stdout},
    top::{self, Targets},
};

const ABOUT: &str = "\
Keys:
  q, Esc, Ctrl-C  quit
  s               sort by denied/s, checks/s or name
  Tab             choose the list that the arrows scroll
  Up, Down, PageUp, PageDown, Home, or k and j

Rates are those between the last two readings; those of buckets are averages over about 10 s, from
samples. An endpoint whose host has several addresses, such as a headless Service, is as many
replicas.

Exit codes:
  0  done
  1  error; with --once: no replica has answered
  2  the command line is wrong";

/// Show what limiters decide, live: rates, refusing limits, hot buckets and replicas
#[derive(Debug, Args)]
#[command(after_help = ABOUT)]
pub(crate) struct Top {
    #[arg(
        help = "A limiter, as http://host:port, https://host:port or unix:///path; may be given more than once",
        long = "endpoint",
        value_name = "URL",
        env = "TOOLGATE_ENDPOINT",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:7070"
    )]
    endpoints: Vec<Endpoint>,
    #[command(flatten)]
    tls: TlsArgs,
    /// How long to wait for each answer, connecting included
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = positive_duration)]
    timeout: GoDuration,
    /// From one reading to the next
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = interval)]
    interval: GoDuration,
    /// Print one table, of two readings, and exit; so it is where there is no terminal
    #[arg(long)]
    once: bool,
    /// How to print what --once shows
    #[arg(long = "output", value_name = "FORMAT", value_enum, default_value_t = Format::Table, requires = "once")]
    format: Format,
}

/// More often than this a reading costs the limiters more than it tells.
fn interval(text: &str) -> Result<GoDuration, String> {
    let interval = positive_duration(text)?;
    if interval.0.as_millis() < 100 {
        return Err("must be at least 100ms".to_owned());
    }
    Ok(interval)
}

impl Top {
    pub(super) async fn run(self) -> anyhow::Result<Outcome> {
        let mut stdout = Stdout::new();
        let targets = Targets {
            endpoints: self.endpoints,
            tls: self.tls,
            timeout: self.timeout,
            interval: self.interval.0,
        };
        if self.once || !can_draw() {
            let shown = top::once(&targets, self.format, stdout.palette()).await?;
            stdout.print(&shown)?;
        } else {
            top::live(targets, stdout.palette()).await?;
        }
        Ok(Outcome::Done)
    }
}

/// Whether there is a screen, and keys to end it with.
fn can_draw() -> bool {
    let is_dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    !is_dumb && io::stdin().is_terminal() && io::stdout().is_terminal()
}
