//! The `vmcp` command: a virtual MCP server.

use std::{
    io::{Write as _, stdout},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use toolgate_net::{descriptors, stop_signal};
use toolgate_tasks::Tasks;
use toolgate_telemetry::{Log, LogFormat, Program, Telemetry};
use vmcp::{Server, config::Config};

mod log;

/// Many MCP servers behind one endpoint, with shared rate limits
#[derive(Parser)]
#[command(version)]
struct Vmcp {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve
    Serve {
        /// The configuration file
        #[arg(long, value_name = "FILE", env = "VMCP_CONFIG")]
        config: PathBuf,
        /// How to log [default: text on a terminal, else json]
        #[arg(long, value_name = "FORMAT", env = "VMCP_LOG_FORMAT")]
        log_format: Option<LogFormat>,
    },
}

const PROGRAM: Program = Program {
    name: "vmcp",
    version: env!("CARGO_PKG_VERSION"),
    spans_of: &["vmcp", "toolgate_client"],
};

#[tokio::main]
async fn main() -> ExitCode {
    let Command::Serve {
        config: path,
        log_format,
    } = Vmcp::parse().command;
    let (config, unknown, mut telemetry) = match start(&path, log_format) {
        Ok(started) => started,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    for field in unknown {
        tracing::warn!(
            field,
            "this field of ToolHive is not known here and is ignored"
        );
    }
    match serve(config, &mut telemetry)
        .await
        .with_context(|| path.display().to_string())
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The configuration, the fields in it that are not known, and what logs and exports.
fn start(
    path: &Path,
    format: Option<LogFormat>,
) -> anyhow::Result<(Config, Vec<String>, Telemetry)> {
    let filter = log::filter(std::env::var_os(log::VARIABLE))?;
    let (config, unknown) = Config::read(path).with_context(|| path.display().to_string())?;
    let telemetry = Telemetry::start(PROGRAM, Log { filter, format }, &config.otlp)?;
    Ok((config, unknown, telemetry))
}

/// Serves until a signal. `telemetry` ends after all that it is told of, and sends what waits.
async fn serve(config: Config, telemetry: &mut Telemetry) -> anyhow::Result<()> {
    // Before anything listens, so that no signal is missed.
    let stop = stop_signal()?;
    descriptors::raise();
    let server = Server::bind(config).await?;
    if let Some(export) = telemetry.metrics_export() {
        export.start(server.metrics().clone(), &Tasks::default());
    }
    // Whoever started the server may not read; it serves all the same.
    let address = server.local_addr()?;
    let _ = writeln!(stdout(), "vmcp is serving MCP on http://{address}/mcp");
    if let Some(address) = server.admin_addr() {
        let _ = writeln!(stdout(), "metrics and probes are on http://{}", address?);
    }
    server.serve(stop).await;
    Ok(())
}
