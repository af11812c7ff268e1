//! Two tools in place of many: `find_tool` searches the others, `call_tool` runs one of them.
//!
//! A model that is shown hundreds of tools pays for their descriptions with every request. Here it
//! pays for two, and for those that fit what it is about to do.
//!
//! It stands above the rate limits: what they see is the real tool, by its own name, and a search
//! costs nothing. A tool that does not exist is found out before the limiter is asked.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::ready;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CompleteRequestParams, CompleteResult,
    ContentBlock, GetPromptRequestParams, GetPromptResponse, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ReadResourceRequestParams, ReadResourceResponse,
};
use serde_json::json;
use toolgate_limit::{Identity, OperationKind};

use crate::{Prepared, Vmcp, VmcpError, json::unmarked, rejection::tool_error, span};

mod arguments;
mod indexes;
mod search;
mod tokens;
mod tools;

use arguments::{ArgumentError, Call, Search};
use indexes::{Found, Indexes};
use tools::{CALL_TOOL, FIND_TOOL};

/// Shows two tools in place of those of `inner`; all else passes through unchanged.
#[derive(Debug)]
pub struct Optimizer {
    inner: Arc<dyn Vmcp>,
    max_tools: usize,
    indexes: Indexes,
}

impl Optimizer {
    /// Tools that a search returns unless it is set otherwise.
    pub const DEFAULT_MAX_TOOLS: usize = 8;

    /// The most tools that a search can be set to return.
    pub const MOST_TOOLS: usize = 50;

    /// Searches in the tools of `inner`, for at most `max_tools` a search, which is brought into
    /// 1 to [`Optimizer::MOST_TOOLS`].
    pub fn new(inner: Arc<dyn Vmcp>, max_tools: usize) -> Self {
        Self {
            inner,
            max_tools: max_tools.clamp(1, Self::MOST_TOOLS),
            indexes: Indexes::new(),
        }
    }

    async fn find_tool(
        &self,
        identity: &Identity,
        search: &Search,
    ) -> Result<CallToolResult, VmcpError> {
        let all = self.inner.list_tools(identity, None).await?.tools;
        let text = search.text();
        let searched = self.indexes.search(identity, all, text, self.max_tools);
        let Found { tools, metrics } = searched.await?;
        let answer = json!({"tools": tools, "token_metrics": metrics});
        // Beside the structured form as text, for clients that know no other.
        let text = unmarked(&answer.to_string()).into_owned();
        let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
        result.structured_content = Some(answer);
        Ok(result)
    }
}

#[async_trait]
impl Vmcp for Optimizer {
    async fn list_tools(
        &self,
        _: &Identity,
        _: Option<PaginatedRequestParams>,
    ) -> Result<ListToolsResult, VmcpError> {
        Ok(ListToolsResult::with_all_items(tools::both(self.max_tools)))
    }

    async fn prepare_call<'a>(
        &'a self,
        identity: &'a Identity,
        mut call: CallToolRequestParams,
    ) -> Result<Prepared<'a, CallToolResponse>, VmcpError> {
        let arguments = call.arguments.take().unwrap_or_default();
        let refused = |error: ArgumentError| {
            let answer = tool_error(error.to_string()).into();
            Ok(Box::pin(ready(Ok(answer))) as Prepared<'a, _>)
        };
        match call.name.as_ref() {
            FIND_TOOL => {
                span::is_for_tool(FIND_TOOL);
                match Search::read(arguments) {
                    Ok(search) => Ok(Box::pin(async move {
                        Ok(self.find_tool(identity, &search).await?.into())
                    })),
                    Err(error) => refused(error),
                }
            }
            CALL_TOOL => {
                let Call { name, arguments } = match Call::read(arguments) {
                    Ok(call) => call,
                    Err(error) => return refused(error),
                };
                call.name = name.into();
                call.arguments = Some(arguments);
                self.inner.prepare_call(identity, call).await
            }
            name => Err(VmcpError::Unknown {
                kind: OperationKind::Tool,
                name: name.to_owned(),
            }),
        }
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

    async fn prepare_read<'a>(
        &'a self,
        identity: &'a Identity,
        read: ReadResourceRequestParams,
    ) -> Result<Prepared<'a, ReadResourceResponse>, VmcpError> {
        self.inner.prepare_read(identity, read).await
    }

    async fn list_prompts(
        &self,
        identity: &Identity,
        page: Option<PaginatedRequestParams>,
    ) -> Result<ListPromptsResult, VmcpError> {
        self.inner.list_prompts(identity, page).await
    }

    async fn prepare_prompt<'a>(
        &'a self,
        identity: &'a Identity,
        get: GetPromptRequestParams,
    ) -> Result<Prepared<'a, GetPromptResponse>, VmcpError> {
        self.inner.prepare_prompt(identity, get).await
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
