//! The subcommands, one file each.

mod bench;
mod buckets;
mod check;
mod crd;
mod peek;
mod policies;
mod pseudonym;
mod reset;
mod serve;
mod top;
mod validate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::Builder;
use toolgate_proto::pb;

const EXIT_CODES: &str = "\
Exit codes:
  0  done; check and peek: allowed (every check of -n)
  1  error: no answer, the limiter refused the request, or validate found an error
  2  the command line is wrong
  3  check and peek: denied (any check of -n)";

/// Shared, exact rate limits for MCP tool calls.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
pub(crate) struct Toolgate {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Check(check::Check),
    Peek(peek::Peek),
    Buckets(buckets::Buckets),
    Reset(reset::Reset),
    Policies(policies::Policies),
    Validate(validate::Validate),
    Crd(crd::Crd),
    Pseudonym(pseudonym::Pseudonym),
    Bench(bench::Bench),
    Top(top::Top),
}

/// How a command ended that did what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing was denied.
    Done,
    /// A check was denied.
    Denied,
    /// A bucket admitted more than it may; which was printed.
    Over,
    /// A manifest is not valid; what is wrong was printed.
    Invalid,
}

/// Runs the command on a runtime of its own.
pub(crate) fn run(toolgate: Toolgate) -> anyhow::Result<Outcome> {
    // What serves has threads of its own.
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        match toolgate.command {
            Command::Serve(serve) => serve.run().await,
            Command::Check(check) => check.run().await,
            Command::Peek(peek) => peek.run().await,
            Command::Buckets(buckets) => buckets.run().await,
            Command::Reset(reset) => reset.run().await,
            Command::Policies(policies) => policies.run().await,
            Command::Validate(validate) => validate.run(),
            Command::Crd(_) => crd::Crd::run(),
            Command::Pseudonym(pseudonym) => pseudonym.run(),
            Command::Bench(bench) => bench.run().await,
            Command::Top(top) => top.run().await,
        }
    });
    // The system looks up host names on a thread and without a deadline; dropping the runtime
    // would wait for that thread.
    runtime.shutdown_background();
    outcome
}

impl Outcome {
    /// Denied if any of the answers is.
    fn of<'a>(answers: impl IntoIterator<Item = &'a pb::CheckResponse>) -> Self {
        let denied = |answer: &pb::CheckResponse| answer.decision() == pb::Decision::Denied;
        if answers.into_iter().any(denied) {
            Self::Denied
        } else {
            Self::Done
        }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::Denied => Self::from(3),
            Outcome::Invalid | Outcome::Over => Self::FAILURE,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Toolgate::command().debug_assert();
    }
}
