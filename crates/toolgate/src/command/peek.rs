//! `toolgate peek`: asks as a gateway does, and pays nothing.

use clap::Args;

use super::{EXIT_CODES, Outcome};
use crate::{
    client::ClientArgs,
    output::{Format, OutputArgs, Stdout, json, table},
    select::Call,
};

/// Ask whether a call could run, and pay nothing
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Peek {
    #[command(flatten)]
    call: Call,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Peek {
    pub(super) async fn run(self) -> anyhow::Result<Outcome> {
        let answer = self.client.client()?.peek(self.call.peek()).await?;
        let mut stdout = Stdout::new();
        stdout.print(&match self.output.format {
            Format::Table => table::peek(&answer, stdout.palette()),
            Format::Json => json::peek(&answer)?,
        })?;
        Ok(Outcome::of([&answer]))
    }
}
