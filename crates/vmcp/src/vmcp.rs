//! What a virtual MCP server does for one caller.

use std::fmt;

use async_trait::async_trait;
use futures::future::BoxFuture;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult,
    GetPromptRequestParams, GetPromptResponse, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams,
    ReadResourceResponse,
};
use toolgate_limit::Identity;

use crate::VmcpError;

/// A request that has its backend and its slot there. It has cost nothing and has not been sent: that
/// is done when it is polled. Dropping it gives the slot back.
pub type Prepared<'a, T> = BoxFuture<'a, Result<T, VmcpError>>;

/// Serves MCP requests. Who calls is an argument of every method, never ambient.
///
/// A decorator has the same trait in and out, and may only subtract: it refuses a request or
/// passes it on unchanged. What limits can deny has two steps, so that a request that cannot be sent
/// costs no token: it is prepared, paid for, and sent.
#[async_trait]
pub trait Vmcp: fmt::Debug + Send + Sync {
    /// The tools that `identity` may call.
    async fn list_tools(
        &self,
        identity: &Identity,
        page: Option<PaginatedRequestParams>,
    ) -> Result<ListToolsResult, VmcpError>;

    /// Runs a tool.
    async fn call_tool(
        &self,
        identity: &Identity,
        call: CallToolRequestParams,
    ) -> Result<CallToolResponse, VmcpError> {
        self.prepare_call(identity, call).await?.await
    }

    /// Finds the tool and its backend, and takes a slot there for [`Vmcp::call_tool`].
    async fn prepare_call<'a>(
        &'a self,
        identity: &'a Identity,
        call: CallToolRequestParams,
    ) -> Result<Prepared<'a, CallToolResponse>, VmcpError>;

    /// The resources that `identity` may read.
    async fn list_resources(
        &self,
        identity: &Identity,
        page: Option<PaginatedRequestParams>,
    ) -> Result<ListResourcesResult, VmcpError>;

    /// The templates of further resources.
    async fn list_resource_templates(
        &self,
        identity: &Identity,
        page: Option<PaginatedRequestParams>,
    ) -> Result<ListResourceTemplatesResult, VmcpError>;

    /// Reads a resource.
    async fn read_resource(
        &self,
        identity: &Identity,
        read: ReadResourceRequestParams,
    ) -> Result<ReadResourceResponse, VmcpError> {
        self.prepare_read(identity, read).await?.await
    }

    /// As [`Vmcp::prepare_call`], for [`Vmcp::read_resource`].
    async fn prepare_read<'a>(
        &'a self,
        identity: &'a Identity,
        read: ReadResourceRequestParams,
    ) -> Result<Prepared<'a, ReadResourceResponse>, VmcpError>;

    /// The prompts that `identity` may get.
    async fn list_prompts(
        &self,
        identity: &Identity,
        page: Option<PaginatedRequestParams>,
    ) -> Result<ListPromptsResult, VmcpError>;

    /// Fills in a prompt.
    async fn get_prompt(
        &self,
        identity: &Identity,
        get: GetPromptRequestParams,
    ) -> Result<GetPromptResponse, VmcpError> {
        self.prepare_prompt(identity, get).await?.await
    }

    /// As [`Vmcp::prepare_call`], for [`Vmcp::get_prompt`].
    async fn prepare_prompt<'a>(
        &'a self,
        identity: &'a Identity,
        get: GetPromptRequestParams,
    ) -> Result<Prepared<'a, GetPromptResponse>, VmcpError>;

    /// Proposes values for an argument of a prompt or a resource template.
    async fn complete(
        &self,
        identity: &Identity,
        complete: CompleteRequestParams,
    ) -> Result<CompleteResult, VmcpError>;
}
