//! `toolgate bench`: puts load on a limiter, and says how it did.

use std::{num::NonZeroU64, time::Duration};

use clap::Args;
use toolgate_limit::GoDuration;

use super::Outcome;
use crate::{
    bench::{self, Load, Mode, Share, Spread},
    client::{Endpoint, TlsArgs, positive_duration},
    output::{Format, OutputArgs, Stdout},
};

const ABOUT: &str = "\
Each check is one of a user (user-0, user-1, ...) to a tool (tool-0, ...). Without --rate the loop is
closed: an answer makes room for the next check. With --rate it is open: checks go at fixed times, and
latency counts from then, so that a stall shows in each check that it held up.

Every bucket is held against its bound: over the run it may admit its capacity and what refilled in
that time. A bucket that was not full, other callers and checks without an answer only make it admit
less here; a reset, or a policy in shadow mode, more.

Exit codes:
  0  done
  1  error, or a bucket admitted more than its bound
  2  the command line is wrong";

const LONGEST_RUN: Duration = Duration::from_hours(24);

/// Put load on a limiter: rate, latency, and whether it admitted too much
#[derive(Debug, Args)]
#[command(after_help = ABOUT)]
pub(crate) struct Bench {
    #[arg(
        help = "The limiter, as http://host:port, https://host:port or unix:///path; several: connections go to each in turn",
        long = "endpoint",
        value_name = "URL",
        env = "TOOLGATE_ENDPOINT",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:7070"
    )]
    endpoints: Vec<Endpoint>,
    #[command(flatten)]
    tls: TlsArgs,
    /// The server that is called, as namespace/name
    #[arg(long, value_name = "SERVER", default_value = "default/research")]
    server: String,
    /// How many users; 0: checks are anonymous
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000)]
    users: u32,
    /// What subjects begin with
    #[arg(long, value_name = "TEXT", default_value = "user-")]
    user_prefix: String,
    /// How many tools; 0: checks name none
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    tools: u32,
    /// What tools begin with
    #[arg(long, value_name = "TEXT", default_value = "tool-")]
    tool_prefix: String,
    /// How users and tools are drawn, each for themselves: uniform, or zipf with an exponent
    #[arg(long, value_name = "uniform|zipf[:S]", default_value = "uniform")]
    keys: Spread,
    /// Tokens that each check costs
    #[arg(long, value_name = "TOKENS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    cost: u32,
    /// How to ask
    #[arg(long, value_enum, default_value_t = Mode::Stream)]
    mode: Mode,
    /// Ask for no buckets with answers that allow, as gateways do. What was admitted is then held
    /// against the policy of the first endpoint
    #[arg(long)]
    omit_buckets: bool,
    /// Let each check belong to a trace of its own, and this share of them be sampled, so that the
    /// limiter makes spans of them: 0 to 1
    #[arg(long, value_name = "SHARE")]
    traced: Option<Share>,
    /// How many connections
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// The most checks on their way on each connection [default: 64, or 1024 with --rate]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    in_flight: Option<u32>,
    /// Open loop: so many checks a second, over all connections
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rate: Option<u64>,
    /// How long to measure, for example 10s or 1m
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = positive_duration)]
    duration: GoDuration,
    /// How long to put on load before that
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    warm_up: GoDuration,
    /// How long to wait for connections, and for answers after the last check
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = positive_duration)]
    timeout: GoDuration,
    /// How many threads send, each some of the connections
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: u32,
    /// Draws the same users and tools again
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    output: OutputArgs,
}

impl Bench {
    /// The load has runtimes of its own, on other threads.
    pub(super) async fn run(self) -> anyhow::Result<Outcome> {
        let format = self.output.format;
        let report = bench::run(self.load()?).await?;
        Stdout::new().print(&match format {
            Format::Table => report.to_text(),
            Format::Json => report.to_json()?,
        })?;
        Ok(if report.is_over() {
            Outcome::Over
        } else {
            Outcome::Done
        })
    }

    fn load(self) -> anyhow::Result<Load> {
        let in_flight = if self.rate.is_some() { 1_024 } else { 64 };
        let endpoints = self.endpoints.iter().map(|endpoint| self.tls.of(endpoint));
        Ok(Load {
            endpoints: endpoints.collect::<Result<_, _>>()?,
            server: self.server,
            users: self.users,
            user_prefix: self.user_prefix,
            tools: self.tools,
            tool_prefix: self.tool_prefix,
            spread: self.keys,
            cost: self.cost,
            seed: self.seed,
            mode: self.mode,
            omit_buckets: self.omit_buckets,
            traced: self.traced,
            connections: self.connections,
            in_flight: self.in_flight.unwrap_or(in_flight),
            rate: self.rate.and_then(NonZeroU64::new),
            warm_up: self.warm_up.0.min(LONGEST_RUN),
            duration: self.duration.0.min(LONGEST_RUN),
            timeout: self.timeout,
            threads: self.threads,
        })
    }
}
