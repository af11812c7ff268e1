//! Where a caller without a token gets one: OAuth 2.0 Protected Resource Metadata, RFC 9728, as the
//! authorization chapter of MCP asks for.

use reqwest::Url;
use serde_json::{Value, json};

/// A server whose callers need tokens, under the URL that they call.
#[derive(Clone, Debug)]
pub struct ProtectedResource {
    /// As configured: clients compare it with what they call, to the letter.
    resource: String,
    issuer: String,
    path: String,
    metadata_url: String,
}

impl ProtectedResource {
    /// Where the metadata of a server without a path is. MCP looks there for any other, too.
    pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

    /// `url` is that of `resource`.
    pub(super) fn new(resource: &str, url: &Url, issuer: &str) -> Self {
        // By section 3.1 the rest goes behind the well-known path, without a slash that ends it.
        let rest = if url.path() == "/" { "" } else { url.path() };
        let path = format!("{}{rest}", Self::WELL_KNOWN);
        let query = url
            .query()
            .map_or(String::new(), |query| format!("?{query}"));
        let origin = url.origin().ascii_serialization();
        Self {
            resource: resource.to_owned(),
            issuer: issuer.to_owned(),
            metadata_url: format!("{origin}{path}{query}"),
            path,
        }
    }

    /// The URL of the metadata.
    pub fn metadata_url(&self) -> &str {
        &self.metadata_url
    }

    /// Whether the metadata is found under `path`.
    pub fn is_at(&self, path: &str) -> bool {
        path == self.path || path == Self::WELL_KNOWN
    }

    /// The metadata, by section 2.
    pub fn metadata(&self) -> Value {
        json!({
            "resource": self.resource,
            "authorization_servers": [self.issuer],
            "bearer_methods_supported": ["header"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_path_goes_between_host_and_path() {
        for (resource, expected) in [
            (
                "https://a.example",
                "https://a.example/.well-known/oauth-protected-resource",
            ),
            (
                "https://a.example/",
                "https://a.example/.well-known/oauth-protected-resource",
            ),
            (
                "https://a.example:8443/team/mcp",
                "https://a.example:8443/.well-known/oauth-protected-resource/team/mcp",
            ),
            (
                "https://a.example/mcp?team=\"1\"",
                "https://a.example/.well-known/oauth-protected-resource/mcp?team=%221%22",
            ),
        ] {
            let url = Url::parse(resource).unwrap();
            let protected = ProtectedResource::new(resource, &url, "https://id.example");
            assert_eq!(protected.metadata_url(), expected);
            assert_eq!(protected.metadata()["resource"], resource);
        }
    }
}
