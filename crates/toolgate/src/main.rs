//! The `toolgate` command: asks a limiter, and shows and resets what it holds.

mod bench;
mod client;
mod command;
mod output;
mod select;
mod top;

use std::process::ExitCode;

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match command::run(command::Toolgate::parse()) {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            output::complain(&error);
            ExitCode::FAILURE
        }
    }
}
