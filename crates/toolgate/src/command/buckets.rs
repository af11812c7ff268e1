//! `toolgate buckets`: the buckets of a server or of one user.

use clap::Args;
use toolgate_proto::pb;

use super::{EXIT_CODES, Outcome};
use crate::{
    client::ClientArgs,
    output::{Format, OutputArgs, Stdout, json, table},
    select::BucketsOf,
};

/// Show the buckets that all callers of a server share, or those of one user
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Buckets {
    #[command(flatten)]
    of: BucketsOf,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Buckets {
    pub(super) async fn run(self) -> anyhow::Result<Outcome> {
        let request = pb::ListBucketsRequest {
            identity: self.of.identity(),
            server: self.of.server,
        };
        let buckets = self.client.client()?.list_buckets(request).await?;
        let mut stdout = Stdout::new();
        stdout.print(&match self.output.format {
            Format::Table => table::buckets(&buckets.buckets, stdout.palette()),
            Format::Json => json::buckets(&buckets)?,
        })?;
        Ok(Outcome::Done)
    }
}
