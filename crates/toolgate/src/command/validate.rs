//! `toolgate validate`: would a limiter take these manifests?

use std::path::PathBuf;

use clap::Args;
use toolgate_policy::read_paths;

use super::{EXIT_CODES, Outcome};
use crate::output::{Format, OutputArgs, Stdout, manifests};

/// Say whether a limiter would take these manifests, and show all that is wrong with them
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Validate {
    /// Files, and folders, of which every *.yaml, *.yml and *.json is read
    #[arg(required = true, value_name = "FILE")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

impl Validate {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let loaded = read_paths(&self.paths);
        let mut stdout = Stdout::new();
        match self.output.format {
            Format::Table => {
                stdout.print(&manifests::text(&loaded, stdout.palette()))?;
            }
            Format::Json => {
                for diagnostic in &loaded.diagnostics {
                    stdout.print(&manifests::json(diagnostic)?)?;
                }
            }
        }
        Ok(if loaded.diagnostics.has_errors() {
            Outcome::Invalid
        } else {
            Outcome::Done
        })
    }
}
