//! `toolgate check`: asks as a gateway does, and pays.

use clap::Args;
use toolgate_proto::pb;

use super::{EXIT_CODES, Outcome};
use crate::{
    client::{Client, ClientArgs},
    output::{Format, OutputArgs, Stdout, json, table},
    select::Call,
};

/// Ask whether a call may run, and pay for it if it may
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Check {
    #[command(flatten)]
    call: Call,
    /// How many times to ask, one after another
    #[arg(short = 'n', value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Check {
    pub(super) async fn run(self) -> anyhow::Result<Outcome> {
        let client = self.client.client()?;
        let mut stdout = Stdout::new();
        let mut answers = Vec::new();
        let all_asked = self.ask(&client, &mut stdout, &mut answers).await;
        // What was decided is shown even if a later check failed: it has been paid.
        if self.output.format == Format::Table && !answers.is_empty() {
            stdout.print(&table::checks(&answers, stdout.palette()))?;
        }
        all_asked?;
        Ok(Outcome::of(&answers))
    }

    /// Asks `count` times. JSON is printed as answers come, for whoever reads along.
    async fn ask(
        &self,
        client: &Client,
        stdout: &mut Stdout,
        answers: &mut Vec<pb::CheckResponse>,
    ) -> anyhow::Result<()> {
        for _ in 0..self.count {
            let answer = client.check(self.call.check()).await?;
            if self.output.format == Format::Json {
                stdout.print(&json::check(&answer)?)?;
            }
            answers.push(answer);
            if stdout.is_closed() {
                break;
            }
        }
        Ok(())
    }
}
