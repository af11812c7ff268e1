//! A virtual MCP server that notes what reaches it, for tests of what stands above it; and spans.

use std::sync::Mutex;

use async_trait::async_trait;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider, SpanData};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CompleteRequestParams, CompleteResult,
    ContentBlock, GetPromptRequestParams, GetPromptResponse, GetPromptResult, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, Tool,
};
use serde_json::Value;
use toolgate_limit::{Identity, OperationKind};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::{Prepared, Vmcp, VmcpError};

/// Answers everything and notes who asked for what, as (method, subject, parameters). Without
/// tools of its own it knows every tool but `nothing`.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) tools: Vec<Tool>,
    pub(crate) seen: Mutex<Vec<(&'static str, Option<String>, Value)>>,
}

impl Recorder {
    pub(crate) fn with_tools(tools: Vec<Tool>) -> Self {
        Self {
            tools,
            ..Self::default()
        }
    }

    pub(crate) fn methods(&self) -> Vec<&'static str> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|(method, ..)| *method).collect()
    }

    fn note(&self, method: &'static str, identity: &Identity, params: impl serde::Serialize) {
        let params = serde_json::to_value(params).unwrap();
        let subject = identity.subject().map(str::to_owned);
        self.seen.lock().unwrap().push((method, subject, params));
    }
}

#[async_trait]
impl Vmcp for Recorder {
    async fn list_tools(
        &self,
        identity: &Identity,
        page: Option<PaginatedRequestParams>,
    ) -> Result<ListToolsResult, VmcpError> {
        self.note("list_tools", identity, page);
        Ok(ListToolsResult::with_all_items(self.tools.clone()))
    }

    async fn prepare_call<'a>(
        &'a self,
        identity: &'a Identity,
        call: CallToolRequestParams,
    ) -> Result<Prepared<'a, CallToolResponse>, VmcpError> {
        let is_any = self.tools.is_empty() && call.name != "nothing";
        if !is_any && !self.tools.iter().any(|tool| tool.name == call.name) {
            return Err(VmcpError::Unknown {
                kind: OperationKind::Tool,
                name: call.name.into_owned(),
            });
        }
        Ok(Box::pin(async move {
            self.note("call_tool", identity, &call);
            Ok(CallToolResult::success(vec![ContentBlock::text("done")]).into())
        }))
    }

    async fn list_resources(
        &self,
        identity: &Identity,
        page: Option<PaginatedRequestParams>,
    ) -> Result<ListResourcesResult, VmcpError> {
        self.note("list_resources", identity, page);
        Ok(ListResourcesResult::default())
    }

    async fn list_resource_templates(
        &self,
        identity: &Identity,
        page: Option<PaginatedRequestParams>,
    ) -> Result<ListResourceTemplatesResult, VmcpError> {
        self.note("list_resource_templates", identity, page);
        Ok(ListResourceTemplatesResult::default())
    }

    async fn prepare_read<'a>(
        &'a self,
        identity: &'a Identity,
        read: ReadResourceRequestParams,
    ) -> Result<Prepared<'a, ReadResourceResponse>, VmcpError> {
        Ok(Box::pin(async move {
            self.note("read_resource", identity, &read);
            Ok(ReadResourceResult::new(Vec::new()).into())
        }))
    }

    async fn list_prompts(
        &self,
        identity: &Identity,
        page: Option<PaginatedRequestParams>,
    ) -> Result<ListPromptsResult, VmcpError> {
        self.note("list_prompts", identity, page);
        Ok(ListPromptsResult::default())
    }

    async fn prepare_prompt<'a>(
        &'a self,
        identity: &'a Identity,
        get: GetPromptRequestParams,
    ) -> Result<Prepared<'a, GetPromptResponse>, VmcpError> {
        Ok(Box::pin(async move {
            self.note("get_prompt", identity, &get);
            Ok(GetPromptResult::default().into())
        }))
    }

    async fn complete(
        &self,
        identity: &Identity,
        complete: CompleteRequestParams,
    ) -> Result<CompleteResult, VmcpError> {
        self.note("complete", identity, &complete);
        Ok(CompleteResult::default())
    }
}

/// Takes the spans of this thread, as `sampler` says, while the guard is held.
pub(crate) fn exporting(sampler: Sampler) -> (InMemorySpanExporter, DefaultGuard) {
    let exported = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_sampler(sampler)
        .with_simple_exporter(exported.clone())
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let subscriber = tracing_subscriber::registry().with(layer);
    (exported, tracing::subscriber::set_default(subscriber))
}

/// The span of this name.
pub(crate) fn named<'a>(spans: &'a [SpanData], name: &str) -> &'a SpanData {
    let named = spans.iter().find(|span| span.name == name);
    named.unwrap_or_else(|| panic!("no {name} in {spans:?}"))
}

/// The value of an attribute, as text.
pub(crate) fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let attribute = span.attributes.iter().find(|it| it.key.as_str() == key)?;
    Some(attribute.value.to_string())
}
