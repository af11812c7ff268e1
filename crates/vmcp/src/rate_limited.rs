//! The decorator that asks the limiter before a tool, a prompt or a resource is served.
//!
//! It sits below all code that rewrites names, so that buckets are keyed on the tool that really
//! runs. It asks when the request has found its backend and a slot there: a tool that does not exist,
//! a backend that is down and one that has no slot left cost no token. Only an explicit denial refuses a call: when no decision is made the call goes through,
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

use crate::{Gate, Prepared, Vmcp, VmcpError};

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
    async fn prepare_call<'a>(
        &'a self,
        identity: &'a Identity,
        call: CallToolRequestParams,
    ) -> Result<Prepared<'a, CallToolResponse>, VmcpError> {
        let name = call.name.clone();
        let prepared = self.inner.prepare_call(identity, call).await?;
        let kind = OperationKind::Tool;
        self.gate.admit(identity, kind, &name).await?;
        Ok(prepared)
    }

    async fn prepare_prompt<'a>(
        &'a self,
        identity: &'a Identity,
        get: GetPromptRequestParams,
    ) -> Result<Prepared<'a, GetPromptResponse>, VmcpError> {
        let name = get.name.clone();
        let prepared = self.inner.prepare_prompt(identity, get).await?;
        let kind = OperationKind::Prompt;
        self.gate.admit(identity, kind, &name).await?;
        Ok(prepared)
    }

    async fn prepare_read<'a>(
        &'a self,
        identity: &'a Identity,
        read: ReadResourceRequestParams,
    ) -> Result<Prepared<'a, ReadResourceResponse>, VmcpError> {
        let name = read.uri.clone();
        let prepared = self.inner.prepare_read(identity, read).await?;
        let kind = OperationKind::Resource;
        self.gate.admit(identity, kind, &name).await?;
        Ok(prepared)
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
