//! What one backend offers.

use rmcp::{
    Peer, RoleClient, ServiceError,
    model::{Prompt, Resource, ResourceTemplate, Tool},
};

use super::BackendName;

/// What a backend has listed, under the names by which clients know it.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) tools: Vec<Tool>,
    pub(super) prompts: Vec<Prompt>,
    pub(super) resources: Vec<Resource>,
    pub(super) templates: Vec<ResourceTemplate>,
}

impl Lists {
    /// Asks the backend for all that its capabilities promise.
    pub(super) async fn fetch(
        peer: &Peer<RoleClient>,
        backend: &BackendName,
    ) -> Result<Self, ServiceError> {
        let mut lists = Self::default();
        let Some(server) = peer.peer_info() else {
            return Err(ServiceError::TransportClosed);
        };
        if server.capabilities.tools.is_some() {
            lists.tools = peer.list_all_tools().await?;
        }
        if server.capabilities.prompts.is_some() {
            lists.prompts = peer.list_all_prompts().await?;
        }
        if server.capabilities.resources.is_some() {
            lists.resources = peer.list_all_resources().await?;
            lists.templates = templates(peer).await?;
        }
        lists.prefix(backend);
        Ok(lists)
    }

    fn prefix(&mut self, backend: &BackendName) {
        for tool in &mut self.tools {
            tool.name = backend.prefixed(&tool.name).into();
        }
        for prompt in &mut self.prompts {
            prompt.name = backend.prefixed(&prompt.name);
        }
    }

    /// How well `uri` fits what is listed: best a resource or template of just that URI, then the
    /// template with the longest text before its first variable; 0 if none fits.
    pub(super) fn fit_of(&self, uri: &str) -> usize {
        let listed = self.resources.iter().any(|resource| resource.uri == uri);
        let template = |template: &ResourceTemplate| {
            let pattern = &template.uri_template;
            if pattern == uri {
                return usize::MAX;
            }
            let fixed = pattern.split('{').next().unwrap_or_default();
            if pattern.contains('{') && uri.starts_with(fixed) {
                fixed.len()
            } else {
                0
            }
        };
        if listed {
            return usize::MAX;
        }
        self.templates.iter().map(template).max().unwrap_or(0)
    }
}

/// The resource templates. Servers with resources need not have any, and some then do not know
/// the method.
async fn templates(peer: &Peer<RoleClient>) -> Result<Vec<ResourceTemplate>, ServiceError> {
    match peer.list_all_resource_templates().await {
        Err(ServiceError::McpError(_)) => Ok(Vec::new()),
        listed => listed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(resources: &[&str], templates: &[&str]) -> Lists {
        Lists {
            resources: resources
                .iter()
                .map(|uri| Resource::new(*uri, "r"))
                .collect(),
            templates: templates
                .iter()
                .map(|uri| ResourceTemplate::new(*uri, "t"))
                .collect(),
            ..Lists::default()
        }
    }

    #[test]
    fn a_listed_resource_fits_best_then_the_template_with_most_fixed_text() {
        let lists = lists(
            &["file:///a"],
            &["file:///{path}", "file:///logs/{day}", "db:///all"],
        );
        assert_eq!(lists.fit_of("file:///a"), usize::MAX);
        assert_eq!(lists.fit_of("file:///logs/{day}"), usize::MAX);
        assert_eq!(lists.fit_of("file:///logs/monday"), "file:///logs/".len());
        assert_eq!(lists.fit_of("file:///other"), "file:///".len());
        assert_eq!(lists.fit_of("db:///all/of/it"), 0);
        assert_eq!(lists.fit_of("http://elsewhere"), 0);
    }
}
