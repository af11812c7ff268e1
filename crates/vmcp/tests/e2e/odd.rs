//! A backend that does what backends should not.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock,
        GetPromptRequestParams, GetPromptResponse, GetPromptResult, ListPromptsResult,
        ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
        Prompt, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, Resource,
        ResourceTemplate, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
    transport::{
        StreamableHttpServerConfig, StreamableHttpService,
        streamable_http_server::session::local::LocalSessionManager,
    },
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};
use tokio_util::task::AbortOnDropHandle;

/// Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Odd(Arc<State>);

#[derive(Debug)]
pub(crate) struct State {
    /// Tools and prompts that it lists; it serves any.
    pub(crate) names: Mutex<Vec<&'static str>>,
    /// Methods that fail.
    pub(crate) fails: Mutex<HashSet<&'static str>>,
    /// Whether no list is answered.
    pub(crate) hangs: watch::Sender<bool>,
    /// Methods whose lists never end.
    pub(crate) endless: Mutex<HashSet<&'static str>>,
    /// The methods, names and URIs that have reached it.
    pub(crate) seen: Mutex<Vec<String>>,
    /// How often tools were listed.
    pub(crate) looks: AtomicUsize,
    /// Calls of `wait` that the other side no longer wanted.
    pub(crate) cancelled: AtomicUsize,
    /// Lets calls of `wait` end.
    pub(crate) release: Semaphore,
}

/// One that listens, in this process.
pub(crate) struct OddBackend {
    pub(crate) odd: Odd,
    pub(crate) address: SocketAddr,
    sessions: Arc<LocalSessionManager>,
    _serve: AbortOnDropHandle<()>,
}

impl OddBackend {
    pub(crate) async fn start() -> Self {
        let odd = Odd(Arc::new(State {
            names: Mutex::new(vec!["echo", "wait", "storm", "huge"]),
            fails: Mutex::default(),
            hangs: watch::Sender::new(false),
            endless: Mutex::default(),
            seen: Mutex::default(),
            looks: AtomicUsize::new(0),
            cancelled: AtomicUsize::new(0),
            release: Semaphore::new(0),
        }));
        let served = odd.clone();
        let sessions = Arc::new(LocalSessionManager::default());
        let config = StreamableHttpServerConfig::default();
        let kept = Arc::clone(&sessions);
        let service = StreamableHttpService::new(move || Ok(served.clone()), kept, config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = axum::Router::new().fallback_service(service);
        let serve = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self {
            odd,
            address,
            sessions,
            _serve: AbortOnDropHandle::new(serve),
        }
    }
}

impl OddBackend {
    /// Which sessions are open.
    pub(crate) async fn session_ids(&self) -> HashSet<String> {
        let sessions = self.sessions.sessions.read().await;
        sessions.keys().map(ToString::to_string).collect()
    }

    /// Sessions that are open.
    pub(crate) async fn sessions(&self) -> usize {
        self.sessions.sessions.read().await.len()
    }
}

impl std::ops::Deref for OddBackend {
    type Target = State;

    fn deref(&self) -> &State {
        &self.odd.0
    }
}

impl Odd {
    /// The cursor of the next page of a list without end.
    async fn list(
        &self,
        method: &'static str,
        page: Option<PaginatedRequestParams>,
    ) -> Result<Option<String>, ErrorData> {
        let mut hangs = self.0.hangs.subscribe();
        hangs.wait_for(|hangs| !hangs).await.unwrap();
        if self.0.fails.lock().unwrap().contains(method) {
            return Err(ErrorData::internal_error("as asked", None));
        }
        let is_endless = self.0.endless.lock().unwrap().contains(method);
        let n = page.and_then(|page| page.cursor);
        let n = n.map_or(0, |n| n.parse::<u64>().unwrap());
        Ok(is_endless.then(|| (n + 1).to_string()))
    }

    fn saw(&self, method: &str, name: &str) {
        self.0.seen.lock().unwrap().push(format!("{method} {name}"));
    }
}

impl ServerHandler for Odd {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_prompts()
            .enable_resources()
            .enable_tools()
            .enable_tool_list_changed()
            .build();
        ServerConfig::new(capabilities)
    }

    async fn list_tools(
        &self,
        page: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        self.0.looks.fetch_add(1, Ordering::SeqCst);
        let next = self.list("tools/list", page).await?;
        let names = self.0.names.lock().unwrap().clone();
        let tool = |name| Tool::new(name, "", Arc::default());
        let mut list = ListToolsResult::with_all_items(names.into_iter().map(tool).collect());
        list.next_cursor = next;
        Ok(list)
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.saw("tools/call", &call.name);
        let mut text = "done".to_owned();
        match call.name.as_ref() {
            "wait" => tokio::select! {
                permit = self.0.release.acquire() => permit.unwrap().forget(),
                () = context.ct.cancelled() => {
                    self.0.cancelled.fetch_add(1, Ordering::SeqCst);
                }
            },
            "storm" => {
                for _ in 0..500 {
                    context.peer.notify_tool_list_changed().await.unwrap();
                }
            }
            "huge" => text = "x".repeat(17 * 1024 * 1024),
            _ => {}
        }
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
    }

    async fn list_prompts(
        &self,
        page: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let next = self.list("prompts/list", page).await?;
        let names = self.0.names.lock().unwrap().clone();
        let prompt = |name: &str| Prompt::new(name, None::<String>, None);
        let mut list = ListPromptsResult::with_all_items(names.into_iter().map(prompt).collect());
        list.next_cursor = next;
        Ok(list)
    }

    async fn get_prompt(
        &self,
        get: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        self.saw("prompts/get", &get.name);
        Ok(GetPromptResult::new(Vec::new()).into())
    }

    async fn list_resources(
        &self,
        page: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let next = self.list("resources/list", page).await?;
        let nth = next.as_ref().map_or(1, |next| next.parse().unwrap());
        let resource = |n| Resource::new(format!("file:///listed/../{n}"), "r");
        let resources = (0..100).map(|n| resource(100 * (nth - 1) + n)).collect();
        let mut list = ListResourcesResult::with_all_items(resources);
        list.next_cursor = next;
        Ok(list)
    }

    async fn list_resource_templates(
        &self,
        page: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let next = self.list("resources/templates/list", page).await?;
        let template = ResourceTemplate::new("file:///{path}", "t");
        let mut list = ListResourceTemplatesResult::with_all_items(vec![template]);
        list.next_cursor = next;
        Ok(list)
    }

    async fn read_resource(
        &self,
        read: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        self.saw("resources/read", &read.uri);
        Ok(ReadResourceResult::new(Vec::new()).into())
    }
}
