//! Any bytes as the body of a POST to `/mcp`: each request has one answer with its own id, in one
//! piece or in a batch, a notification has none, and no element runs twice.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    http::{Request, StatusCode},
};
use prometheus_client::registry::Registry;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CompleteRequestParams, CompleteResult,
    GetPromptRequestParams, GetPromptResponse, GetPromptResult, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult,
};
use serde_json::{Map, Value, value::RawValue};
use tokio::{runtime::Runtime, sync::watch};
use toolgate_limit::{Identity, OperationKind};
use vmcp::{
    Prepared, Vmcp, VmcpError,
    auth::Anonymous,
    rejection::Rejection,
    serve::{AllowedHost, Edge, router},
};

/// Protocols without batches have the header; 2025-03-26 may do without.
const VERSIONS: [Option<&str>; 2] = [None, Some("2025-11-25")];

/// Posts `body`. Whether all of it was served.
pub(crate) fn accepts(body: &[u8]) -> bool {
    thread_local! {
        static EDGE: Posted = Posted::new();
    }
    let accepted = VERSIONS.map(|version| EDGE.with(|edge| edge.post(version, body)));
    accepted.contains(&true)
}

/// The edge of a gateway that knows every tool, and how often it was asked to run something.
struct Posted {
    runtime: Runtime,
    router: Router,
    ran: Arc<AtomicUsize>,
}

impl Posted {
    fn new() -> Self {
        let ran = Arc::new(AtomicUsize::new(0));
        let edge = Edge {
            name: "any".to_owned(),
            vmcp: Arc::new(Counting(Arc::clone(&ran))),
            authenticator: Arc::new(Anonymous::new()),
            rejection: Rejection::default(),
            allowed_hosts: vec![AllowedHost::Any],
            admin_hosts: vec![AllowedHost::Any],
            allowed_origins: Vec::new(),
            ready: watch::channel(true).1,
            registry: Registry::default(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        Self {
            runtime,
            router: router(edge),
            ran,
        }
    }

    /// Posts `body` and judges what comes back. Whether its status says that it was served.
    fn post(&self, version: Option<&str>, body: &[u8]) -> bool {
        let mut request = Request::post("/mcp")
            .header("host", "localhost")
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json");
        if let Some(version) = version {
            request = request.header("mcp-protocol-version", version);
        }
        let request = request.body(Body::from(Bytes::copy_from_slice(body)));
        let request = request.expect("a request");
        let before = self.ran.load(Ordering::Relaxed);
        let (status, answer) = self.runtime.block_on(async {
            let served = tower_service::Service::call(&mut self.router.clone(), request);
            let (parts, body) = served.await.expect("never fails").into_parts();
            let body = to_bytes(body, usize::MAX).await.expect("a whole answer");
            (parts.status, body)
        });
        assert!(!status.is_server_error(), "{status}: {answer:?}");
        let asked = Asked::read(body);
        let ran = self.ran.load(Ordering::Relaxed) - before;
        assert!(ran <= asked.most, "{ran} ran of {}", asked.most);
        asked.judge(status, &answer, version.is_none());
        status.is_success()
    }
}

/// What a body asks for, told without the code that serves it.
#[derive(Debug, Default)]
struct Asked<'a> {
    is_batch: bool,
    /// The most that may run: its messages.
    most: usize,
    /// Requests in the form of JSON-RPC 2.0, by their ids as they are written.
    requests: HashMap<&'a str, usize>,
    /// Elements that have an id and are no requests: an answer may say so.
    others: HashMap<&'a str, usize>,
    /// Elements without an id that are no notifications: an answer without an id may say so.
    nameless: usize,
}

impl<'a> Asked<'a> {
    fn read(body: &'a [u8]) -> Self {
        if let Ok(elements) = serde_json::from_slice::<Vec<&RawValue>>(body) {
            let mut asked = Self {
                is_batch: true,
                ..Self::default()
            };
            for element in elements {
                asked.add(element.get());
            }
            return asked;
        }
        let mut asked = Self::default();
        match std::str::from_utf8(body) {
            Ok(text) => asked.add(text),
            Err(_) => asked.nameless = 1,
        }
        asked
    }

    fn add(&mut self, message: &'a str) {
        self.most += 1;
        // A member that is there twice has its last value here, and makes no request.
        let Ok(members) = serde_json::from_str::<HashMap<String, &RawValue>>(message) else {
            self.nameless += 1;
            return;
        };
        // None if it is nested deeper than anybody reads.
        let values = serde_json::from_str::<Map<String, Value>>(message).ok();
        let is_message = values.as_ref().is_some_and(|values| {
            values
                .get("jsonrpc")
                .is_some_and(|version| version == "2.0")
                && values.get("method").is_some_and(Value::is_string)
                && values.get("params").is_none_or(Value::is_object)
                && !has_twice(message, &["jsonrpc", "id", "method", "params"])
        });
        let Some(id) = members.get("id").map(|id| id.get()) else {
            // With a result it may be taken for the answer to no request.
            let is_answer = members.contains_key("result") || members.contains_key("error");
            self.nameless += usize::from(!is_message || is_answer);
            return;
        };
        let is_id = id.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit());
        let kind = if is_message && is_id {
            &mut self.requests
        } else {
            &mut self.others
        };
        *kind.entry(id).or_default() += 1;
    }

    fn judge(&self, status: StatusCode, answer: &[u8], has_batches: bool) {
        if answer.is_empty() {
            assert_eq!(status, StatusCode::ACCEPTED);
            assert!(self.requests.is_empty(), "no answer to {self:?}");
            return;
        }
        let shown = String::from_utf8_lossy(answer);
        let answers: Vec<&RawValue> = if answer[0] == b'[' {
            assert!(self.is_batch);
            serde_json::from_slice(answer).unwrap_or_else(|error| panic!("{error}: {shown}"))
        } else {
            let one = serde_json::from_slice(answer);
            vec![one.unwrap_or_else(|error| panic!("{error}: {shown}"))]
        };
        let mut given: HashMap<&str, usize> = HashMap::new();
        let mut nameless = 0;
        for answer in &answers {
            let answer: HashMap<&str, &RawValue> =
                serde_json::from_str(answer.get()).expect("an object");
            assert_eq!(answer["jsonrpc"].get(), r#""2.0""#);
            let results = [answer.contains_key("result"), answer.contains_key("error")];
            assert!(results[0] != results[1], "{shown}");
            match answer.get("id") {
                Some(id) => *given.entry(id.get()).or_default() += 1,
                None => nameless += 1,
            }
        }
        // A batch may be refused as a whole: it is empty, or too long, or not of this protocol.
        if self.is_batch && answer[0] != b'[' {
            let is_refusable = !has_batches || self.most == 0 || self.most > 100;
            assert!(is_refusable && status == StatusCode::BAD_REQUEST, "{shown}");
            assert_eq!((nameless, answers.len()), (1, 1), "{shown}");
            return;
        }
        for (id, &asked) in &self.requests {
            let given = given.remove(id).unwrap_or_default();
            let others = self.others.get(id).copied().unwrap_or_default();
            assert!(
                (asked..=asked + others).contains(&given),
                "{given} answers to {asked} requests {id}: {shown}"
            );
        }
        for (id, given) in given {
            let others = self.others.get(id).copied().unwrap_or_default();
            assert!(given <= others, "nobody asked {id}: {shown}");
        }
        // Alone, a notification that cannot be taken is answered with 400 and may have a body.
        let alone = usize::from(!self.is_batch && status.is_client_error());
        let others: usize = self.others.values().sum();
        assert!(nameless <= self.nameless + alone + others, "{shown}");
    }
}

/// Whether one of `names` is in the object `message` more than once.
fn has_twice(message: &str, names: &[&str]) -> bool {
    struct Names(Vec<String>);
    impl<'de> serde::Deserialize<'de> for Names {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Names;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut members: A,
                ) -> Result<Names, A::Error> {
                    let mut names = Vec::new();
                    while let Some((name, _)) =
                        members.next_entry::<String, serde::de::IgnoredAny>()?
                    {
                        names.push(name);
                    }
                    Ok(Names(names))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }
    let all = serde_json::from_str::<Names>(message).map_or(Vec::new(), |names| names.0);
    let count = |name: &&str| all.iter().filter(|other| other == name).count();
    names.iter().any(|name| count(name) > 1)
}

/// Knows all that it is asked for, and counts what it runs.
#[derive(Debug)]
struct Counting(Arc<AtomicUsize>);

impl Counting {
    fn run<T>(&self, result: T) -> T {
        self.0.fetch_add(1, Ordering::Relaxed);
        result
    }
}

#[async_trait]
impl Vmcp for Counting {
    async fn list_tools(
        &self,
        _: &Identity,
        _: Option<PaginatedRequestParams>,
    ) -> Result<ListToolsResult, VmcpError> {
        Ok(self.run(ListToolsResult::default()))
    }

    async fn prepare_call<'a>(
        &'a self,
        _: &'a Identity,
        call: CallToolRequestParams,
    ) -> Result<Prepared<'a, CallToolResponse>, VmcpError> {
        if call.name == "nothing" {
            return Err(VmcpError::Unknown {
                kind: OperationKind::Tool,
                name: call.name.into_owned(),
            });
        }
        Ok(Box::pin(async {
            Ok(self.run(CallToolResult::success(Vec::new()).into()))
        }))
    }

    async fn list_resources(
        &self,
        _: &Identity,
        _: Option<PaginatedRequestParams>,
    ) -> Result<ListResourcesResult, VmcpError> {
        Ok(self.run(ListResourcesResult::default()))
    }

    async fn list_resource_templates(
        &self,
        _: &Identity,
        _: Option<PaginatedRequestParams>,
    ) -> Result<ListResourceTemplatesResult, VmcpError> {
        Ok(self.run(ListResourceTemplatesResult::default()))
    }

    async fn prepare_read<'a>(
        &'a self,
        _: &'a Identity,
        _: ReadResourceRequestParams,
    ) -> Result<Prepared<'a, ReadResourceResponse>, VmcpError> {
        Ok(Box::pin(async {
            Ok(self.run(ReadResourceResult::new(Vec::new()).into()))
        }))
    }

    async fn list_prompts(
        &self,
        _: &Identity,
        _: Option<PaginatedRequestParams>,
    ) -> Result<ListPromptsResult, VmcpError> {
        Ok(self.run(ListPromptsResult::default()))
    }

    async fn prepare_prompt<'a>(
        &'a self,
        _: &'a Identity,
        _: GetPromptRequestParams,
    ) -> Result<Prepared<'a, GetPromptResponse>, VmcpError> {
        Ok(Box::pin(async {
            Ok(self.run(GetPromptResult::default().into()))
        }))
    }

    async fn complete(
        &self,
        _: &Identity,
        _: CompleteRequestParams,
    ) -> Result<CompleteResult, VmcpError> {
        Ok(self.run(CompleteResult::default()))
    }
}
