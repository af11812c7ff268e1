//! `toolgate reset`: makes buckets full again.

use clap::Args;
use toolgate_proto::pb;

use super::{EXIT_CODES, Outcome};
use crate::{
    client::ClientArgs,
    output::{Format, OutputArgs, Stdout, json, table},
    select::{BucketsOf, OperationArgs},
};

/// Make buckets full again: those that all callers of a server share, or those of one user
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Reset {
    #[command(flatten)]
    of: BucketsOf,
    #[command(flatten)]
    operation: OperationArgs,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Reset {
    pub(super) async fn run(self) -> anyhow::Result<Outcome> {
        let request = pb::ResetBucketsRequest {
            identity: self.of.identity(),
            operation: self.operation.of_reset(),
            server: self.of.server,
        };
        let reset = self.client.client()?.reset_buckets(request).await?;
        Stdout::new().print(&match self.output.format {
            Format::Table => table::reset(reset),
            Format::Json => json::reset(reset)?,
        })?;
        Ok(Outcome::Done)
    }
}
