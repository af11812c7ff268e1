//! The programs that tests start.
//!
//! `make test` has built them with the tests and says where they are. Without that, each test process
//! brings them up to date once, so that `cargo test -p toolgate-tests` never tests an old one.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context, Result, ensure};

/// The variable that holds the folder of programs that are up to date.
const PROGRAMS: &str = "TOOLGATE_TEST_PROGRAMS";

/// The `toolgate` binary.
pub fn toolgate() -> Result<&'static Path> {
    static TOOLGATE: OnceLock<PathBuf> = OnceLock::new();
    program(&TOOLGATE, "toolgate")
}

/// The `vmcp` binary.
pub fn vmcp() -> Result<&'static Path> {
    static VMCP: OnceLock<PathBuf> = OnceLock::new();
    program(&VMCP, "vmcp")
}

/// The MCP server of `crates/vmcp/examples/backend`, which counts the calls that reach it.
pub fn counting_backend() -> Result<&'static Path> {
    static BACKEND: OnceLock<PathBuf> = OnceLock::new();
    program(&BACKEND, "examples/backend")
}

fn program(known: &'static OnceLock<PathBuf>, name: &str) -> Result<&'static Path> {
    if let Some(program) = known.get() {
        return Ok(program);
    }
    let folder = match std::env::var_os(PROGRAMS) {
        Some(folder) => folder.into(),
        None => build()?,
    };
    let program = folder.join(name);
    ensure!(program.is_file(), "there is no {}", program.display());
    Ok(known.get_or_init(|| program))
}

/// Builds all programs, with the features that `cargo test --workspace` gives their dependencies, so
/// that nothing is built twice, and returns their folder.
fn build() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    // target/<profile>/deps/<test>
    let profile = test.ancestors().nth(2).context("a test lies in deps")?;
    let target = profile.parent().context("a profile lies in target")?;
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--locked", "--workspace"])
        .args(["--bin", "toolgate", "--bin", "vmcp", "--example", "backend"])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    // What cargo has told this test of its package would make build scripts that read it, such as
    // ring's, run again, and all that stands on them be built again, at each turn.
    for (name, _) in std::env::vars_os() {
        let of_package =
            |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_"].map(|of| name.starts_with(of));
        if name
            .to_str()
            .is_some_and(|name| of_package(name).contains(&true))
        {
            cargo.env_remove(name);
        }
    }
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    ensure!(cargo.status()?.success(), "the programs do not build");
    Ok(profile.to_owned())
}
