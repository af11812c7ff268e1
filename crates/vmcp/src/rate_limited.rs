//! The decorator that asks the limiter before a tool, a prompt or a resource is served.
//!
//! It sits below all code that rewrites names, so that buckets are keyed on the tool that really
//! runs. Only an explicit denial refuses a call: when no decision is made the call goes through,
//! unless the gateway was told otherwise.

use std::sync::Arc;

use async_trait::async_trait;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult,
    GetPromptRequestParams, GetPromptResponse, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams,
    ReadResourceResponse,
};
use toolgate_limit::{Identity, OperationKind};

use crate::{Gate, Vmcp, VmcpError};

/// `inner` behind `gate`; without a gate, `inner` as it is.
pub fn rate_limited<V: Vmcp + 'static>(inner: V, gate: Option<Gate>) -> Arc<dyn Vmcp> {
    match gate {
        Some(gate) => Arc::new(RateLimited::new(inner, gate)),
        None => Arc::new(inner),
    }
}

/// Asks the limiter before calls, prompts and reads; everything else passes through unchanged.
#[derive(Debug)]
pub struct RateLimited<V> {
    inner: V,
    gate: Gate,
}

impl<V> RateLimited<V> {
    /// `inner` behind `gate`.
    pub const fn new(inner: V, gate: Gate) -> Self {
        Self { inner, gate }
    }
}

#[async_trait]
impl<V: Vmcp> Vmcp for RateLimited<V> {
    async fn call_tool(
        &self,
        identity: &Identity,
        call: CallToolRequestParams,
    ) -> Result<CallToolResponse, VmcpError> {
        // A tool that does not exist costs no token.
        self.inner.check_tool_call(identity, &call.name).await?;
        let tool = OperationKind::Tool;
        self.gate.admit(identity, tool, &call.name).await?;
        self.inner.call_tool(identity, call).await
    }

    async fn get_prompt(
        &self,
        identity: &Identity,
        get: GetPromptRequestParams,
    ) -> Result<GetPromptResponse, VmcpError> {
        let prompt = OperationKind::Prompt;
        self.gate.admit(identity, prompt, &get.name).await?;
        self.inner.get_prompt(identity, get).await
    }

    async fn read_resource(
        &self,
        identity: &Identity,
        read: ReadResourceRequestParams,
    ) -> Result<ReadResourceResponse, VmcpError> {
        let resource = OperationKind::Resource;
        self.gate.admit(identity, resource, &read.uri).await?;
        self.inner.read_resource(identity, read).await
    }

    async fn check_tool_call(&self, identity: &Identity, name: &str) -> Result<(), VmcpError> {
        self.inner.check_tool_call(identity, name).await
    }

    async fn list_tools(
        &self,
        identity: &Identity,
        page: Option<PaginatedRequestParams>,
    ) -> Result<ListToolsResult, VmcpError> {
        self.inner.list_tools(identity, page).await
    }

    async fn list_resources(
        &self,
        identity: &Identity,
        page: Option<PaginatedRequestParams>,
    ) -> Result<ListResourcesResult, VmcpError> {
        self.inner.list_resources(identity, page).await
    }

    async fn list_resource_templates(
        &self,
        identity: &Identity,
        page: Option<PaginatedRequestParams>,
    ) -> Result<ListResourceTemplatesResult, VmcpError> {
        self.inner.list_resource_templates(identity, page).await
    }

    async fn list_prompts(
        &self,
        identity: &Identity,
        page: Option<PaginatedRequestParams>,
    ) -> Result<ListPromptsResult, VmcpError> {
        self.inner.list_prompts(identity, page).await
    }

    async fn complete(
        &self,
        identity: &Identity,
        complete: CompleteRequestParams,
    ) -> Result<CompleteResult, VmcpError> {
        self.inner.complete(identity, complete).await
    }
}

#[cfg(test)]
mod tests;
