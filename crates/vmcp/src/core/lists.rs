//! What one backend offers.

use std::time::Duration;

use rmcp::{
    Peer, RoleClient, ServiceError,
    model::{
        ErrorCode, MetaObject, PaginatedRequestParams, Prompt, Resource, ResourceTemplate, Tool,
    },
};
use serde::Serialize;
use tokio::join;
use toolgate_limit::OperationKind;

use super::{
    BackendName,
    failure::Failure,
    faults::Faults,
    mend,
    paging::{self, Cut, Page, Read},
};

/// What a backend has listed, under the names by which clients know it.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) tools: Vec<Tool>,
    pub(super) prompts: Vec<Prompt>,
    pub(super) resources: Vec<Resource>,
    pub(super) templates: Vec<ResourceTemplate>,
    pub(super) faults: Faults,
}

impl Lists {
    /// The [fit](Self::fit_of) of what is listed to the letter.
    pub(super) const EXACT: usize = usize::MAX;

    /// Asks the backend for all that its capabilities promise, each list within `deadline`.
    ///
    /// A list that cannot be had stays as it was `before`. Only a backend that answers none of them
    /// is an error.
    pub(super) async fn fetch(
        peer: &Peer<RoleClient>,
        backend: &BackendName,
        deadline: Duration,
        before: &Self,
    ) -> Result<Self, Failure> {
        let Some(server) = peer.peer_info() else {
            return Err(Failure::Broken);
        };
        let offers = &server.capabilities;
        let has_resources = offers.resources.is_some();
        let (tools, prompts, resources, templates) = join!(
            list(offers.tools.is_some(), deadline, |page| async {
                let page = peer.list_tools(page).await?;
                Ok(page_of(page.tools, page.meta.as_ref(), page.next_cursor))
            }),
            list(offers.prompts.is_some(), deadline, |page| async {
                let page = peer.list_prompts(page).await?;
                Ok(page_of(page.prompts, page.meta.as_ref(), page.next_cursor))
            }),
            list(has_resources, deadline, |page| async {
                let page = peer.list_resources(page).await?;
                Ok(page_of(
                    page.resources,
                    page.meta.as_ref(),
                    page.next_cursor,
                ))
            }),
            list(has_resources, deadline, |page| async {
                let page = peer.list_resource_templates(page).await?;
                Ok(page_of(
                    page.resource_templates,
                    page.meta.as_ref(),
                    page.next_cursor,
                ))
            }),
        );
        let mut answers = Answers::default();
        let tool = |tool: &mut Tool| tool.name = backend.prefixed(&tool.name).into();
        let prompt = |prompt: &mut Prompt| prompt.name = backend.prefixed(&prompt.name);
        let mut lists = Self {
            tools: answers.take("tools/list", tools, &before.tools, tool),
            prompts: answers.take("prompts/list", prompts, &before.prompts, prompt),
            resources: answers.take("resources/list", resources, &before.resources, |_| {}),
            templates: answers.take(
                "resources/templates/list",
                templates,
                &before.templates,
                |_| {},
            ),
            faults: Faults::default(),
        };
        let mut faults = answers.finish()?;
        faults.inspect(&lists);
        lists.faults = faults;
        Ok(lists)
    }

    /// Whether the tool or prompt `name` is listed.
    pub(super) fn has(&self, kind: OperationKind, name: &str) -> bool {
        match kind {
            OperationKind::Tool => self.tools.iter().any(|tool| tool.name == name),
            OperationKind::Prompt => self.prompts.iter().any(|prompt| prompt.name == name),
            OperationKind::Resource => self.fit_of(name) > 0,
        }
    }

    /// How well `uri` fits what is listed: best a resource or template of just that URI, then the
    /// template with the longest text before its first variable; 0 if none fits.
    pub(super) fn fit_of(&self, uri: &str) -> usize {
        let listed = self.resources.iter().any(|resource| resource.uri == uri);
        let template = |template: &ResourceTemplate| {
            let pattern = &template.uri_template;
            if pattern == uri {
                return Self::EXACT;
            }
            let fixed = pattern.split('{').next().unwrap_or_default();
            if pattern.contains('{') && uri.starts_with(fixed) {
                fixed.len()
            } else {
                0
            }
        };
        if listed {
            return Self::EXACT;
        }
        self.templates.iter().map(template).max().unwrap_or(0)
    }
}

/// A list as it came, if the backend promises one.
type Listed<T> = Option<Result<Read<T>, Failure>>;

fn page_of<T>(items: Vec<T>, meta: Option<&MetaObject>, next: Option<String>) -> Page<T> {
    Page {
        items,
        left_out: mend::left_out(meta.map(|meta| &meta.0)),
        next,
    }
}

async fn list<T, F>(
    is_promised: bool,
    deadline: Duration,
    page: impl FnMut(Option<PaginatedRequestParams>) -> F,
) -> Listed<T>
where
    T: Serialize + PartialEq,
    F: Future<Output = Result<Page<T>, ServiceError>>,
{
    if !is_promised {
        return None;
    }
    Some(paging::read(deadline, page).await)
}

/// What became of the lists of one look.
#[derive(Debug, Default)]
struct Answers {
    is_alive: bool,
    /// Of a list that could not be had.
    failure: Option<Failure>,
    faults: Faults,
}

impl Answers {
    /// What `name` holds from now on.
    fn take<T: Clone>(
        &mut self,
        name: &'static str,
        listed: Listed<T>,
        before: &[T],
        rename: impl Fn(&mut T),
    ) -> Vec<T> {
        let failure = match listed {
            None => return Vec::new(),
            Some(Ok(Read {
                mut items,
                left_out,
                cut,
            })) => {
                self.is_alive = true;
                self.faults.left_out(name, &left_out);
                if let Some(cut) = cut {
                    self.faults.cut(name, &cut);
                }
                // It is no shorter than it was, only slower.
                if cut == Some(Cut::Late) && items.len() < before.len() {
                    return before.to_vec();
                }
                items.iter_mut().for_each(rename);
                return items;
            }
            Some(Err(failure)) => failure,
        };
        let mut said = "";
        if let Failure::Refused(error) = &failure {
            self.is_alive = true;
            // Servers with resources need not have templates, and some then do not know the method.
            if error.code == ErrorCode::METHOD_NOT_FOUND {
                return Vec::new();
            }
            said = &error.message;
        }
        self.faults.failed(name, &failure, said);
        self.failure = Some(failure);
        before.to_vec()
    }

    /// An error if no list was answered: then nothing is there any more.
    fn finish(self) -> Result<Faults, Failure> {
        match self.failure {
            Some(failure) if !self.is_alive => Err(failure),
            _ => Ok(self.faults),
        }
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
