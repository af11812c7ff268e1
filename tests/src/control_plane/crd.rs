//! When the kinds of a CRD can be used.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    runtime::{conditions::is_crd_established, wait::await_condition},
};
use tokio::time::sleep;

/// Waits until the CRD `name` is established and discovery knows all that it serves.
pub(super) async fn installed(client: &Client, name: &str) -> Result<()> {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let crd = await_condition(crds, name, is_crd_established()).await?;
    let spec = crd.context("the CRD stays")?.spec;
    for version in spec.versions.iter().filter(|version| version.served) {
        let api_version = format!("{}/{}", spec.group, version.name);
        while !is_served(client, &api_version, &spec.names.plural).await {
            sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

/// Until the group is known, asking for it is an error.
async fn is_served(client: &Client, api_version: &str, plural: &str) -> bool {
    let known = client.list_api_group_resources(api_version).await;
    known.is_ok_and(|list| list.resources.iter().any(|kind| kind.name == plural))
}
