//! What a virtual MCP server does for one caller.

use std::fmt;

use async_trait::async_trait;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult,
    GetPromptRequestParams, GetPromptResponse, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams,
    ReadResourceResponse,
};
use toolgate_limit::Identity;

use crate::VmcpError;

/// Serves MCP requests. Who calls is an argument of every method, never ambient.
///
/// A decorator has the same trait in and out, and may only subtract: it refuses a request or
/// passes it on unchanged.
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
    ) -> Result<CallToolResponse, VmcpError>;

    /// Whether [`Vmcp::call_tool`] would find the tool `name`, and let `identity` call it. Runs
    /// nothing and costs no token, so a tool that passes may still be denied by its limits.
    async fn check_tool_call(&self, identity: &Identity, name: &str) -> Result<(), VmcpError>;

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
    ) -> Result<ReadResourceResponse, VmcpError>;

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
    ) -> Result<GetPromptResponse, VmcpError>;

    /// Proposes values for an argument of a prompt or a resource template.
    async fn complete(
        &self,
        identity: &Identity,
        complete: CompleteRequestParams,
    ) -> Result<CompleteResult, VmcpError>;
}
