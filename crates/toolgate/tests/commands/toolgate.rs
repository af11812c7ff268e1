//! Runs the binary.

use std::{
    ffi::OsStr,
    process::{Command, Output},
};

/// What a run of the binary left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
        }
    }
}

/// The binary with these arguments, and no settings from the tests' own environment.
pub(crate) fn command<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toolgate"));
    command.env_remove("TOOLGATE_ENDPOINT").args(args);
    command
}

/// Runs `line`, split at blanks, against the limiter at `endpoint`.
pub(crate) fn run(endpoint: &str, line: &str) -> Ran {
    // Ample, so that a busy machine fails no test; what times out sets its own.
    let args = line.split_whitespace().chain(["--endpoint", endpoint]);
    let args = args.chain((!line.contains("--timeout")).then_some("--timeout=30s"));
    let output = command(args).output();
    output.expect("the binary runs").into()
}
