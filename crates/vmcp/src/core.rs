//! Many backend MCP servers as one: lists joined, names prefixed with their backend's, requests
//! routed to the backend that a name or a URI belongs to.
//!
//! A tool or prompt `echo` of backend `git` is `git_echo`. Backend names hold no `_`, so a name
//! splits in one way only, and two backends can never meet in one. URIs are left as they are: a
//! resource belongs to the first backend, in the order of the configuration, that lists it, and still
//! does while that backend is down.
//!
//! Each backend has its own connection task: one that is down or slow is missing in the
//! lists, and requests to it fail, while the others serve.

use async_trait::async_trait;
use prometheus_client::registry::Registry;
use rmcp::{
    Peer, RoleClient,
    model::{
        CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult,
        GetPromptRequestParams, GetPromptResponse, ListPromptsResult, ListResourceTemplatesResult,
        ListResourcesResult, ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams,
        ReadResourceResponse, Reference,
    },
};
use tokio::sync::watch;
use toolgate_limit::{Identity, OperationKind};

use crate::{Prepared, Vmcp, VmcpError, span};

mod answer;
mod backend;
mod backoff;
mod call;
mod connection;
mod doubt;
mod failure;
mod faults;
mod http;
mod link;
mod lists;
mod look;
mod mend;
mod meta;
mod metrics;
mod name;
mod paging;
mod result_type;
mod sessions;
mod slots;
mod stdio;
mod transport;
mod uri;
mod user;

pub use backend::BackendSettings;
pub use connection::Timing;
pub use name::{BackendName, BackendNameError};
pub use sessions::Sessions;
pub use transport::Transport;

pub(crate) use slots::{Full, Slots};

use backend::{Backend, Seat};
use call::Asked;
use lists::Lists;

/// The backends. Dropping it ends their connections.
#[derive(Debug)]
pub struct Core {
    backends: Vec<Backend>,
}

impl Core {
    /// Starts to connect to all backends, and waits for none. Needs a tokio runtime.
    ///
    /// Of two backends of one name the second is never reached; the configuration refuses that.
    pub fn start(backends: Vec<BackendSettings>) -> Self {
        Self {
            backends: backends.into_iter().map(Backend::start).collect(),
        }
    }

    /// Becomes true once every backend is connected, or was tried once and is down.
    pub fn settled(&self) -> watch::Receiver<bool> {
        let (settled, watcher) = watch::channel(false);
        let states: Vec<_> = self.backends.iter().map(Backend::state).collect();
        tokio::spawn(async move {
            for mut state in states {
                // An error means that the core is gone.
                if state.wait_for(connection::State::is_settled).await.is_err() {
                    return;
                }
            }
            settled.send_replace(true);
            settled.closed().await;
        });
        watcher
    }

    /// Shows in `registry` how the backends do: `vmcp_backend_…`.
    pub fn register(&self, registry: &mut Registry) {
        let shown = |b: &Backend| (b.name().clone(), b.state(), b.metrics().clone());
        metrics::Backends(self.backends.iter().map(shown).collect()).register(registry);
    }

    /// What all connected backends list to `identity`, in the order of the configuration.
    fn join<T>(
        &self,
        identity: &Identity,
        page: Option<PaginatedRequestParams>,
        of: impl Fn(&Lists) -> &[T],
    ) -> Result<Vec<T>, VmcpError>
    where
        T: Clone,
    {
        if page.is_some_and(|page| page.cursor.is_some()) {
            let message = "cursor: lists here have one page".to_owned();
            return Err(VmcpError::InvalidParams(message));
        }
        let sessions = self.backends.iter().filter_map(|b| b.view(identity));
        Ok(sessions.flat_map(|s| of(&s.lists).to_vec()).collect())
    }

    /// The backend that `name` belongs to, and the name there.
    fn route<'n>(
        &self,
        kind: OperationKind,
        name: &'n str,
    ) -> Result<(&Backend, &'n str), VmcpError> {
        let unknown = || VmcpError::Unknown {
            kind,
            name: name.to_owned(),
        };
        let (backend, own) = name::split(name).ok_or_else(unknown)?;
        let backend = self.backends.iter().find(|b| b.name().as_str() == backend);
        Ok((backend.ok_or_else(unknown)?, own))
    }

    /// A seat at the backend of the tool or prompt `name`, and the name there. The backend must list
    /// it to the letter: limits know it by no other, and a backend may be less exact.
    async fn seat<'a, 'n>(
        &'a self,
        identity: &Identity,
        kind: OperationKind,
        name: &'n str,
    ) -> Result<(Seat<'a>, &'n str), VmcpError> {
        let (backend, own) = self.route(kind, name)?;
        let seat = backend.seat(identity).await?;
        if seat.lists(|lists| lists.has(kind, name)).await? {
            return Ok((seat, own));
        }
        Err(VmcpError::Unknown {
            kind,
            name: name.to_owned(),
        })
    }

    /// The backend of the resource or resource template `uri`, as `identity` sees it.
    fn owner(&self, identity: &Identity, uri: &str) -> Result<&Backend, VmcpError> {
        let fit = |backend: &Backend| backend.fit_of(identity, uri);
        // The first of the best.
        let best = self
            .backends
            .iter()
            .rev()
            .max_by_key(|backend| fit(backend));
        let unknown = || VmcpError::Unknown {
            kind: OperationKind::Resource,
            name: uri.to_owned(),
        };
        let best = best.filter(|best| fit(best) > 0).ok_or_else(unknown)?;
        if fit(best) < Lists::EXACT && !uri::is_normal(uri) {
            let message = "uri: it is not listed and not in the normal form of RFC 3986";
            return Err(VmcpError::InvalidParams(message.to_owned()));
        }
        Ok(best)
    }
}

#[async_trait]
impl Vmcp for Core {
    async fn list_tools(
        &self,
        identity: &Identity,
        page: Option<PaginatedRequestParams>,
    ) -> Result<ListToolsResult, VmcpError> {
        let tools = self.join(identity, page, |lists| &lists.tools)?;
        Ok(ListToolsResult::with_all_items(tools))
    }

    async fn prepare_call<'a>(
        &'a self,
        identity: &'a Identity,
        mut call: CallToolRequestParams,
    ) -> Result<Prepared<'a, CallToolResponse>, VmcpError> {
        let (seat, name) = self.seat(identity, OperationKind::Tool, &call.name).await?;
        span::is_for_tool(&call.name);
        let name = name.to_owned();
        call.name = name.clone().into();
        let meta = meta::for_backend(call.meta.take());
        Ok(Box::pin(async move {
            let send = async |peer: Peer<RoleClient>, meta| {
                call.meta = meta;
                peer.call_tool_once(call).await
            };
            let answer = seat.ask(Asked::Tool(&name), meta, send).await?;
            Ok(result_type::of_call(answer))
        }))
    }

    async fn list_resources(
        &self,
        identity: &Identity,
        page: Option<PaginatedRequestParams>,
    ) -> Result<ListResourcesResult, VmcpError> {
        let resources = self.join(identity, page, |lists| &lists.resources)?;
        Ok(ListResourcesResult::with_all_items(resources))
    }

    async fn list_resource_templates(
        &self,
        identity: &Identity,
        page: Option<PaginatedRequestParams>,
    ) -> Result<ListResourceTemplatesResult, VmcpError> {
        let templates = self.join(identity, page, |lists| &lists.templates)?;
        Ok(ListResourceTemplatesResult::with_all_items(templates))
    }

    async fn prepare_read<'a>(
        &'a self,
        identity: &'a Identity,
        mut read: ReadResourceRequestParams,
    ) -> Result<Prepared<'a, ReadResourceResponse>, VmcpError> {
        let seat = self.owner(identity, &read.uri)?.seat(identity).await?;
        let meta = meta::for_backend(read.meta.take());
        Ok(Box::pin(async move {
            let send = async |peer: Peer<RoleClient>, meta| {
                read.meta = meta;
                peer.read_resource_once(read).await
            };
            let answer = seat.ask(Asked::Resource, meta, send).await?;
            Ok(result_type::of_read(answer))
        }))
    }

    async fn list_prompts(
        &self,
        identity: &Identity,
        page: Option<PaginatedRequestParams>,
    ) -> Result<ListPromptsResult, VmcpError> {
        let prompts = self.join(identity, page, |lists| &lists.prompts)?;
        Ok(ListPromptsResult::with_all_items(prompts))
    }

    async fn prepare_prompt<'a>(
        &'a self,
        identity: &'a Identity,
        mut get: GetPromptRequestParams,
    ) -> Result<Prepared<'a, GetPromptResponse>, VmcpError> {
        let (seat, name) = self
            .seat(identity, OperationKind::Prompt, &get.name)
            .await?;
        span::is_for_prompt(&get.name);
        let name = name.to_owned();
        get.name.clone_from(&name);
        let meta = meta::for_backend(get.meta.take());
        Ok(Box::pin(async move {
            let send = async |peer: Peer<RoleClient>, meta| {
                get.meta = meta;
                peer.get_prompt_once(get).await
            };
            let answer = seat.ask(Asked::Prompt(&name), meta, send).await?;
            Ok(result_type::of_prompt(answer))
        }))
    }

    async fn complete(
        &self,
        identity: &Identity,
        mut complete: CompleteRequestParams,
    ) -> Result<CompleteResult, VmcpError> {
        let seat = match &mut complete.r#ref {
            Reference::Prompt(prompt) => {
                let kind = OperationKind::Prompt;
                let (seat, own) = self.seat(identity, kind, &prompt.name).await?;
                let own = own.to_owned();
                prompt.name = own;
                seat
            }
            Reference::Resource(template) => {
                self.owner(identity, &template.uri)?.seat(identity).await?
            }
            _ => {
                let message = "ref: neither a prompt nor a resource".to_owned();
                return Err(VmcpError::InvalidParams(message));
            }
        };
        let meta = meta::for_backend(complete.meta.take());
        let send = async |peer: Peer<RoleClient>, meta| {
            complete.meta = meta;
            peer.complete(complete).await
        };
        let answer = seat.ask(Asked::Completion, meta, send).await?;
        Ok(result_type::of_completion(answer))
    }
}
