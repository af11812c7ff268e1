//! `toolgate serve`: the limiter.

use std::{
    io::{Write as _, stderr, stdout},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::Args;
use toolgate_limit::{Policies as _, Policy};
use toolgate_net::{descriptors, stop_signal};
use toolgate_server::{
    AuditDestination, Config, Listen, PolicySource, Server, Settings, StoreConfig,
};
use toolgate_telemetry::{EnvFilter, Log, LogFormat, Program, Telemetry};

use super::Outcome;

const PROGRAM: Program = Program {
    name: "toolgate",
    version: env!("CARGO_PKG_VERSION"),
    // Of each check it would cost more than the check; they are made where a trace is sampled.
    spans_of: &[],
};

/// Run a limiter, until SIGTERM or SIGINT
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// YAML file of settings, under the names of the flags in camelCase; flags and environment win
    #[arg(long, value_name = "FILE", env = "TOOLGATE_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    /// What to log, in the syntax of `RUST_LOG`
    #[arg(
        long,
        value_name = "FILTER",
        env = "TOOLGATE_LOG",
        default_value = "info"
    )]
    log: String,
    /// How to log [default: text on a terminal, else json]
    #[arg(long, value_name = "FORMAT", env = "TOOLGATE_LOG_FORMAT")]
    log_format: Option<LogFormat>,
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<Outcome> {
        // They tell of each try, and show whole answers, in which there may be secrets; the watch tells
        // of each change.
        let filter = EnvFilter::try_new(format!("kube_client=off,kube_runtime=off,{}", self.log))
            .with_context(|| format!("--log {:?} is no filter", self.log))?;
        let file = self.config.map(Settings::read).transpose()?;
        let settings = self.settings.over(file.unwrap_or_default());
        let config = Config::try_from(settings)?;
        let log = Log {
            filter,
            format: self.log_format,
        };
        // Until the end, at which it sends what waits.
        let mut telemetry = Telemetry::start(PROGRAM, log, &config.otlp)?;

        // Before anything listens, so that no signal is missed.
        let stop = stop_signal()?;
        descriptors::raise();
        let mut server = Server::bind(&config).await?;
        if let Some(export) = telemetry.metrics_export() {
            server.export_metrics(export);
        }
        // Whoever started the limiter may not read; it serves all the same.
        let greeting = greeting(&server, &config);
        let stdout_is_taken = matches!(
            &config.audit,
            Some(audit) if audit.to == AuditDestination::Stdout
        );
        let _ = if stdout_is_taken {
            stderr().write_all(greeting.as_bytes())
        } else {
            stdout().write_all(greeting.as_bytes())
        };

        server.run(stop).await?;
        Ok(Outcome::Done)
    }
}

/// Where the limiter listens, what it enforces, and a command to try.
fn greeting(server: &Server, config: &Config) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let (grpc, http) = (server.grpc_address(), server.http_address());
    let snapshot = server.registry().snapshot();
    let policies = snapshot.policies();
    let source = match &config.policies {
        PolicySource::Files(_) => policies.len().to_string(),
        PolicySource::Kubernetes(cluster) => format!("of {} in Kubernetes", cluster.namespaces),
    };
    let store = match &config.store {
        StoreConfig::Memory { .. } => "memory, of this process alone",
        StoreConfig::Redis(_) => "Redis, shared by all replicas",
    };
    let security = match &config.grpc_tls {
        None => "",
        Some(tls) if tls.client_ca.is_none() => "  (TLS)",
        Some(_) => "  (TLS, callers show certificates)",
    };
    let metrics = if config.metrics { ", /metrics" } else { "" };
    // Over TLS it would need files that only its user knows.
    let to_try = policies
        .first()
        .filter(|_| config.grpc_tls.is_none())
        .map_or_else(String::new, |policy| command_to_try(policy, grpc));
    format!(
        "toolgate {version} is serving\n\
         \x20 gRPC      {grpc}{security}\n\
         \x20 HTTP      {http}  (/livez, /readyz{metrics})\n\
         \x20 policies  {source}\n\
         \x20 store     {store}\n\
         {to_try}"
    )
}

fn command_to_try(policy: &Policy, address: &Listen) -> String {
    let program = std::env::args().next();
    let program = program.as_deref().unwrap_or("toolgate");
    let server = policy.server();
    let operation = policy
        .limits()
        .into_iter()
        .find_map(|limit| limit.operation());
    let operation = operation.map_or_else(String::new, |operation| {
        format!(" --{} {:?}", operation.kind(), operation.name())
    });
    let endpoint = endpoint_flag(address);
    format!("Try: {program} check {server} --user alice{operation} -n 5{endpoint}\n")
}

/// What a command needs to find this limiter, unless it is where commands look.
fn endpoint_flag(address: &Listen) -> String {
    match address {
        Listen::Tcp(address) if address.to_string() == "127.0.0.1:7070" => String::new(),
        Listen::Tcp(address) => format!(" --endpoint http://{address}"),
        unix @ Listen::Unix(_) => format!(" --endpoint {unix}"),
    }
}
