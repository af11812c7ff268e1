//! Which version of a kind the API server serves.

use std::{sync::Arc, time::Duration};

use kube::{Client, Error, core::ApiResource};
use tokio::{
    sync::Mutex,
    time::{Instant, error::Elapsed, timeout},
};
use toolgate_policy::Kind;

/// The longest that the API server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long an answer does for those who ask meanwhile: watches of many namespaces ask together.
const FRESH: Duration = Duration::from_secs(1);

/// What the API server serves; clones share what they learn.
#[derive(Clone)]
pub(crate) struct Discovery {
    client: Client,
    /// Groups and their versions, `group/version`, and when they were asked for.
    versions: Arc<Mutex<Option<Versions>>>,
}

type Versions = (Instant, Vec<String>);

/// It is not known what is served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unknown {
    #[error(transparent)]
    Failed(#[from] Error),
    #[error("no answer within {TIMEOUT:?}")]
    Timeout(#[from] Elapsed),
}

impl Discovery {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            versions: Arc::default(),
        }
    }

    /// The kind as it is served, in the version that we prefer. None if the server lists what it
    /// serves, and the kind is not there. Any other answer, "not found" included, may be that of
    /// somebody on the way, or of a server that is starting.
    pub(crate) async fn served(&self, kind: Kind) -> Result<Option<ApiResource>, Unknown> {
        let versions = self.versions().await?;
        for api_version in kind.api_versions() {
            if !versions.iter().any(|served| served == api_version) {
                continue;
            }
            let list = self.client.list_api_group_resources(api_version);
            let resources = timeout(TIMEOUT, list).await??.resources;
            // A subresource has its parent's kind, or another one, and a name with a slash.
            let resource = resources.into_iter().find(|resource| {
                resource.kind == kind.as_str()
                    && resource.namespaced
                    && !resource.name.contains('/')
            });
            if let Some(resource) = resource {
                let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
                return Ok(Some(ApiResource {
                    group: group.to_owned(),
                    version: version.to_owned(),
                    api_version: (*api_version).to_owned(),
                    kind: kind.as_str().to_owned(),
                    plural: resource.name,
                }));
            }
        }
        Ok(None)
    }

    async fn versions(&self) -> Result<Vec<String>, Unknown> {
        let mut known = self.versions.lock().await;
        if let Some((asked, versions)) = &*known
            && asked.elapsed() < FRESH
        {
            return Ok(versions.clone());
        }
        let asked = Instant::now();
        let groups = timeout(TIMEOUT, self.client.list_api_groups())
            .await??
            .groups;
        let versions = groups.into_iter().flat_map(|group| group.versions);
        let versions: Vec<_> = versions.map(|version| version.group_version).collect();
        *known = Some((asked, versions.clone()));
        Ok(versions)
    }
}

pub(crate) fn is_not_found(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 404)
}
