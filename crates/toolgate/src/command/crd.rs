//! `toolgate crd`: the definition of `RateLimitPolicy` for a Kubernetes cluster.

use clap::Args;
use toolgate_kube::definition_yaml;

use super::Outcome;
use crate::output::Stdout;

/// Print the `CustomResourceDefinition` of `RateLimitPolicy` as YAML, for kubectl apply
#[derive(Debug, Args)]
pub(crate) struct Crd {}

impl Crd {
    pub(super) fn run() -> anyhow::Result<Outcome> {
        Stdout::new().print(definition_yaml()?.trim_end())?;
        Ok(Outcome::Done)
    }
}
