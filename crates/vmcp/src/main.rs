//! The `vmcp` command: a virtual MCP server.

use std::{
    io::{Write as _, stdout},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
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
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let Command::Serve { config } = Vmcp::parse().command;
    let filter = match log::filter(std::env::var_os(log::VARIABLE)) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match serve(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(path: PathBuf) -> anyhow::Result<()> {
    let (config, unknown) = Config::read(&path).with_context(|| path.display().to_string())?;
    for field in unknown {
        tracing::warn!(field, "this field is not known here and is ignored");
    }
    let server = Server::bind(config)
        .await
        .with_context(|| path.display().to_string())?;
    let stop = stop_signal()?;
    // Whoever started the server may not read; it serves all the same.
    let address = server.local_addr()?;
    let _ = writeln!(stdout(), "vmcp is serving MCP on http://{address}/mcp");
    if let Some(address) = server.admin_addr() {
        let _ = writeln!(stdout(), "metrics and probes are on http://{}", address?);
    }
    server.serve(stop).await;
    Ok(())
}

/// SIGINT or SIGTERM.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
