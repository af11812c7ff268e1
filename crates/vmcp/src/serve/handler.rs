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
use tokio_util::sync::CancellationToken;
use toolgate_limit::OperationKind;
use tracing::{Instrument as _, Span};

use super::{
    caller::Caller,
    outcome::Outcome,
    params,
    trace::{self, Target},
};
use crate::{
    Vmcp, VmcpError,
    rejection::{self, Rejection},
    span,
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

/// rmcp has taken `_meta` out of the parameters; it belongs to them.
fn meta(context: &RequestContext<RoleServer>) -> Option<RequestMetaObject> {
    (!context.meta.0.0.is_empty()).then(|| context.meta.clone())
}

/// A request that is being served, in its span.
struct Request<'a> {
    caller: &'a Caller,
    version: Option<ProtocolVersion>,
    span: Span,
    /// Cancelled when the caller has hung up.
    gone: &'a CancellationToken,
}

impl<'a> Request<'a> {
    fn begin(
        method: &'static str,
        target: Target<'_>,
        context: &'a RequestContext<RoleServer>,
    ) -> Result<Self, ErrorData> {
        let caller = Caller::of(context)
            .ok_or_else(|| rejection::to_error_data(&VmcpError::Unidentified, None))?;
        Ok(Self {
            span: trace::begin(method, target, caller, context),
            caller,
            version: context.protocol_version(),
            gone: &context.ct,
        })
    }

    /// Serves the request until its caller has hung up or cancelled it. Then it is dropped, wherever it is: its slot
    /// is free, and the backend is told.
    async fn run<T>(
        &self,
        serve: impl Future<Output = Result<T, VmcpError>>,
    ) -> Result<T, VmcpError> {
        let serve = self.caller.cancelled.run_until_cancelled(serve);
        let serve = self.gone.run_until_cancelled(serve);
        let served = serve.instrument(self.span.clone()).await.flatten();
        let served = served.unwrap_or(Err(VmcpError::Cancelled));
        if let Err(error) = &served {
            self.caller.note_error(error);
        }
        served
    }

    /// What a client sees of what `serve` gives, which is noted.
    async fn answer<T>(
        self,
        serve: impl Future<Output = Result<T, VmcpError>>,
    ) -> Result<T, ErrorData> {
        match self.run(serve).await {
            Ok(answer) => {
                self.caller.note(Outcome::Ok);
                Ok(answer)
            }
            Err(error) => {
                let error = rejection::to_error_data(&error, self.version.as_ref());
                span::fail(&self.span, error.code.0);
                Err(error)
            }
        }
    }
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
        let request = Request::begin("tools/list", None, &context)?;
        let identity = &request.caller.identity;
        let listed = self.vmcp.list_tools(identity, page);
        request.answer(listed).await
    }

    async fn call_tool(
        &self,
        mut call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        call.meta = meta(&context);
        let target = Some((OperationKind::Tool, call.name.as_ref()));
        let request = Request::begin("tools/call", target, &context)?;
        let called = self.vmcp.call_tool(&request.caller.identity, call);
        match request.run(called).await {
            Ok(response) => {
                let outcome = Outcome::of_call(&response);
                request.caller.note(outcome);
                if outcome == Outcome::ToolError {
                    span::fail_as(&request.span, span::TOOL_ERROR);
                }
                Ok(response)
            }
            Err(error) => {
                let shown = self
                    .rejection
                    .of_tool_call(&error, request.version.as_ref());
                match &shown {
                    Ok(_) => span::fail_as(&request.span, span::TOOL_ERROR),
                    Err(error) => span::fail(&request.span, error.code.0),
                }
                Ok(shown?.into())
            }
        }
    }

    async fn list_resources(
        &self,
        page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let request = Request::begin("resources/list", None, &context)?;
        let identity = &request.caller.identity;
        let listed = self.vmcp.list_resources(identity, page);
        request.answer(listed).await
    }

    async fn list_resource_templates(
        &self,
        page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let request = Request::begin("resources/templates/list", None, &context)?;
        let identity = &request.caller.identity;
        let listed = self.vmcp.list_resource_templates(identity, page);
        request.answer(listed).await
    }

    async fn read_resource(
        &self,
        mut read: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        read.meta = meta(&context);
        let request = Request::begin("resources/read", None, &context)?;
        let identity = &request.caller.identity;
        let read = self.vmcp.read_resource(identity, read);
        request.answer(read).await
    }

    async fn list_prompts(
        &self,
        page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let request = Request::begin("prompts/list", None, &context)?;
        let identity = &request.caller.identity;
        let listed = self.vmcp.list_prompts(identity, page);
        request.answer(listed).await
    }

    async fn get_prompt(
        &self,
        mut get: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        get.meta = meta(&context);
        let target = Some((OperationKind::Prompt, get.name.as_str()));
        let request = Request::begin("prompts/get", target, &context)?;
        let identity = &request.caller.identity;
        let got = self.vmcp.get_prompt(identity, get);
        request.answer(got).await
    }

    async fn complete(
        &self,
        mut complete: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        complete.meta = meta(&context);
        let request = Request::begin("completion/complete", None, &context)?;
        let identity = &request.caller.identity;
        let completed = self.vmcp.complete(identity, complete);
        request.answer(completed).await
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
