//! `toolgate policies`: what the limiter enforces, and how its last reload went.

use anyhow::ensure;
use clap::Args;
use toolgate_proto::pb;

use super::{EXIT_CODES, Outcome};
use crate::{
    client::{Client, ClientArgs},
    output::{Format, OutputArgs, Stdout, json, policies},
};

/// List the policies in force, or show the limits of one server
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Policies {
    /// Show the limits of this server only, as namespace/name
    #[arg(value_name = "SERVER")]
    server: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Policies {
    pub(super) async fn run(self) -> anyhow::Result<Outcome> {
        let client = self.client.client()?;
        let mut stdout = Stdout::new();
        match (self.server, self.output.format) {
            (None, Format::Table) => {
                let list = list_all(&client).await?;
                stdout.print(&policies::list(&list, stdout.palette()))?;
            }
            (None, Format::Json) => {
                let list = list_all(&client).await?;
                stdout.print(&json::policies(&list)?)?;
            }
            (Some(server), Format::Table) => {
                // First, and shown even if there is no such policy: the one that is missing may
                // be in a manifest that was refused.
                let reload = reload_status(&client).await?;
                stdout.print(&policies::reload(&reload, stdout.palette()))?;
                let policy = client.get_policy(pb::GetPolicyRequest { server }).await?;
                stdout.print(&policies::limits(&policy, stdout.palette()))?;
            }
            (Some(server), Format::Json) => {
                let policy = client.get_policy(pb::GetPolicyRequest { server }).await?;
                stdout.print(&json::policy(&policy)?)?;
            }
        }
        Ok(Outcome::Done)
    }
}

/// All pages as one.
async fn list_all(client: &Client) -> anyhow::Result<pb::ListPoliciesResponse> {
    let mut all = pb::ListPoliciesResponse::default();
    let mut request = pb::ListPoliciesRequest::default();
    loop {
        let page = client.list_policies(request.clone()).await?;
        all.policies.extend(page.policies);
        all.reload = page.reload;
        if page.next_page_token.is_empty() {
            return Ok(all);
        }
        ensure!(
            page.next_page_token != request.page_token,
            "the limiter answers one page of policies with the same page again"
        );
        request.page_token = page.next_page_token;
    }
}

/// How the last reload went, which only a list tells.
async fn reload_status(client: &Client) -> anyhow::Result<pb::ReloadStatus> {
    let shortest = pb::ListPoliciesRequest {
        page_size: 1,
        ..pb::ListPoliciesRequest::default()
    };
    Ok(client
        .list_policies(shortest)
        .await?
        .reload
        .unwrap_or_default())
}
