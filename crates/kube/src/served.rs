//! Which version of a kind the API server serves.

use kube::{Client, Error, core::ApiResource};
use toolgate_policy::Kind;

/// The kind as it is served, in the version that we prefer. None if the server says that it knows no
/// such kind.
pub(crate) async fn served(client: &Client, kind: Kind) -> Result<Option<ApiResource>, Error> {
    for api_version in kind.api_versions() {
        let resources = match client.list_api_group_resources(api_version).await {
            Ok(list) => list.resources,
            Err(error) if is_not_found(&error) => continue,
            Err(error) => return Err(error),
        };
        // A subresource has its parent's kind, or another one, and a name with a slash.
        let resource = resources
            .into_iter()
            .find(|resource| resource.kind == kind.as_str() && !resource.name.contains('/'));
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

pub(crate) fn is_not_found(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 404)
}
