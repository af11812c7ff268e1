//! From rmcp's requests to [`Vmcp`], and from its errors to what a client sees.

use std::{borrow::Cow, sync::Arc};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult,
        CustomRequest, CustomResult, ErrorCode, GetPromptRequestParams, GetPromptResponse,
        Implementation, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
        ListToolsResult, PaginatedRequestParams, ProtocolVersion, ReadResourceRequestParams,
        ReadResourceResponse, RequestMetaObject, ServerCapabilities, ServerConfig,
    },
    service::RequestContext,
};
use tracing::{Instrument, Span, field::Empty, info_span};

use super::{caller::Caller, outcome::Outcome, params};
use crate::{
    Vmcp, VmcpError,
    rejection::{self, Rejection},
};

/// Serves one request; clones are the same server.
#[derive(Clone, Debug)]
pub(super) struct Handler {
    vmcp: Arc<dyn Vmcp>,
    rejection: Rejection,
    config: ServerConfig,
}

impl Handler {
    pub(super) fn new(name: &str, vmcp: Arc<dyn Vmcp>, rejection: Rejection) -> Self {
        let capabilities = ServerCapabilities::builder()
            .enable_completions()
            .enable_prompts()
            .enable_resources()
            .enable_tools()
            .build();
        let this = Implementation::new(name, env!("CARGO_PKG_VERSION"));
        Self {
            vmcp,
            rejection,
            config: ServerConfig::new(capabilities).with_server_info(this),
        }
    }
}

/// The span of an operation that the limiter is asked for.
fn limited(method: &'static str) -> Span {
    info_span!(
        "mcp",
        method,
        rate_limit.decision = Empty,
        rate_limit.rejected_by = Empty,
        rate_limit.fail_open = Empty,
    )
}

fn unlimited(method: &'static str) -> Span {
    info_span!("mcp", method)
}

/// rmcp has taken `_meta` out of the parameters; it belongs to them.
fn meta(context: &RequestContext<RoleServer>) -> Option<RequestMetaObject> {
    (!context.meta.0.0.is_empty()).then(|| context.meta.clone())
}

fn caller(context: &RequestContext<RoleServer>) -> Result<&Caller, ErrorData> {
    Caller::of(context).ok_or_else(|| rejection::to_error_data(&VmcpError::Unidentified, None))
}

/// What a client sees of `served`, which is noted.
fn answer<T>(
    served: Result<T, VmcpError>,
    caller: &Caller,
    context: &RequestContext<RoleServer>,
) -> Result<T, ErrorData> {
    match &served {
        Ok(_) => caller.note(Outcome::Ok),
        Err(error) => caller.note_error(error),
    }
    served.map_err(|error| {
        let version = context.protocol_version();
        rejection::to_error_data(&error, version.as_ref())
    })
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        self.config.clone()
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        let oldest = ProtocolVersion::V_2025_03_26;
        let all = ProtocolVersion::KNOWN_VERSIONS.iter();
        all.filter(|version| version.as_str() >= oldest.as_str())
            .cloned()
            .collect()
    }

    async fn list_tools(
        &self,
        page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let caller = caller(&context)?;
        let served = self.vmcp.list_tools(&caller.identity, page);
        let served = served.instrument(unlimited("tools/list")).await;
        answer(served, caller, &context)
    }

    async fn call_tool(
        &self,
        mut call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        call.meta = meta(&context);
        let caller = caller(&context)?;
        let served = self.vmcp.call_tool(&caller.identity, call);
        match served.instrument(limited("tools/call")).await {
            Ok(response) => {
                caller.note(Outcome::of_call(&response));
                Ok(response)
            }
            Err(error) => {
                caller.note_error(&error);
                let version = context.protocol_version();
                let shown = self.rejection.of_tool_call(&error, version.as_ref())?;
                Ok(shown.into())
            }
        }
    }

    async fn list_resources(
        &self,
        page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let caller = caller(&context)?;
        let served = self.vmcp.list_resources(&caller.identity, page);
        let served = served.instrument(unlimited("resources/list")).await;
        answer(served, caller, &context)
    }

    async fn list_resource_templates(
        &self,
        page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let caller = caller(&context)?;
        let served = self.vmcp.list_resource_templates(&caller.identity, page);
        let served = served
            .instrument(unlimited("resources/templates/list"))
            .await;
        answer(served, caller, &context)
    }

    async fn read_resource(
        &self,
        mut read: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        read.meta = meta(&context);
        let caller = caller(&context)?;
        let served = self.vmcp.read_resource(&caller.identity, read);
        let served = served.instrument(limited("resources/read")).await;
        answer(served, caller, &context)
    }

    async fn list_prompts(
        &self,
        page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let caller = caller(&context)?;
        let served = self.vmcp.list_prompts(&caller.identity, page);
        let served = served.instrument(unlimited("prompts/list")).await;
        answer(served, caller, &context)
    }

    async fn get_prompt(
        &self,
        mut get: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        get.meta = meta(&context);
        let caller = caller(&context)?;
        let served = self.vmcp.get_prompt(&caller.identity, get);
        let served = served.instrument(limited("prompts/get")).await;
        answer(served, caller, &context)
    }

    async fn complete(
        &self,
        mut complete: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        complete.meta = meta(&context);
        let caller = caller(&context)?;
        let served = self.vmcp.complete(&caller.identity, complete);
        let served = served.instrument(unlimited("completion/complete")).await;
        answer(served, caller, &context)
    }

    /// Of a method that is not known here, and of one that is but whose parameters were not read.
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let CustomRequest { method, params, .. } = request;
        Err(match params::fault(&method, params) {
            Some(fault) => ErrorData::invalid_params(fault, None),
            None => ErrorData::new(ErrorCode::METHOD_NOT_FOUND, method, None),
        })
    }
}
