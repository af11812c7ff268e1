//! What a command is about: the server, the caller and the operation.

use clap::Args;
use tonic::Request;
use toolgate_limit::TraceContext;
use toolgate_proto::pb;

/// A call to decide.
#[derive(Debug, Args)]
pub(crate) struct Call {
    /// The server that is called, as namespace/name
    #[arg(value_name = "SERVER")]
    server: String,
    /// The user who calls; without it the call is anonymous
    #[arg(long, value_name = "SUBJECT")]
    user: Option<String>,
    /// Who vouches for the user, for example the URL of an OIDC issuer
    #[arg(long, value_name = "URL", requires = "user")]
    issuer: Option<String>,
    /// A group of the user; may be given more than once
    #[arg(long = "group", value_name = "GROUP", requires = "user")]
    groups: Vec<String>,
    #[command(flatten)]
    operation: OperationArgs,
    /// Tokens that the call costs
    #[arg(long, value_name = "TOKENS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    cost: u32,
    /// The span that asks, as in a `traceparent` header of W3C Trace Context; without it the limiter
    /// begins a trace, if it samples any
    #[arg(long, value_name = "TRACEPARENT")]
    traceparent: Option<TraceContext>,
}

/// The buckets of a server or of one user.
#[derive(Debug, Args)]
pub(crate) struct BucketsOf {
    /// The server, as namespace/name
    #[arg(value_name = "SERVER")]
    pub(crate) server: String,
    /// The buckets of this user; without it those that all callers share
    #[arg(long, value_name = "SUBJECT")]
    user: Option<String>,
    /// Who vouches for the user, for example the URL of an OIDC issuer
    #[arg(long, value_name = "URL", requires = "user")]
    issuer: Option<String>,
    /// The buckets that callers without a name share
    #[arg(long, conflicts_with_all = ["user", "issuer"])]
    anonymous: bool,
}

/// At most one operation.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct OperationArgs {
    /// The tool, as its backend knows it
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// The prompt
    #[arg(long, value_name = "NAME")]
    prompt: Option<String>,
    /// The resource
    #[arg(long, value_name = "URI")]
    resource: Option<String>,
}

impl Call {
    /// The check that asks for this call.
    pub(crate) fn check(&self) -> Request<pb::CheckRequest> {
        self.traced(self.message())
    }

    /// The look at what the check would find.
    pub(crate) fn peek(&self) -> Request<pb::PeekRequest> {
        let check = Some(self.message());
        self.traced(pb::PeekRequest { check })
    }

    fn traced<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let header = self
            .traceparent
            .as_ref()
            .map(|trace| trace.to_string().parse());
        // Hexadecimal digits are ASCII.
        if let Some(Ok(header)) = header {
            request.metadata_mut().insert("traceparent", header);
        }
        request
    }

    fn message(&self) -> pb::CheckRequest {
        pb::CheckRequest {
            server: self.server.clone(),
            identity: self.user.as_deref().map(|subject| {
                let issuer = self.issuer.as_deref().unwrap_or_default();
                identity(subject, issuer, &self.groups)
            }),
            operation: self.operation.of_check(),
            cost: self.cost,
        }
    }
}

impl BucketsOf {
    /// The user whose buckets are meant; none: the buckets that all callers share.
    pub(crate) fn identity(&self) -> Option<pb::Identity> {
        if self.anonymous {
            return Some(pb::Identity::default());
        }
        let issuer = self.issuer.as_deref().unwrap_or_default();
        self.user
            .as_deref()
            .map(|subject| identity(subject, issuer, &[]))
    }
}

impl OperationArgs {
    fn of_check(&self) -> Option<pb::check_request::Operation> {
        use pb::check_request::Operation;
        let tool = self.tool.clone().map(Operation::Tool);
        let prompt = self.prompt.clone().map(Operation::Prompt);
        let resource = self.resource.clone().map(Operation::Resource);
        tool.or(prompt).or(resource)
    }

    /// As a request to reset names it.
    pub(crate) fn of_reset(self) -> Option<pb::reset_buckets_request::Operation> {
        use pb::reset_buckets_request::Operation;
        let tool = self.tool.map(Operation::Tool);
        let prompt = self.prompt.map(Operation::Prompt);
        let resource = self.resource.map(Operation::Resource);
        tool.or(prompt).or(resource)
    }
}

fn identity(subject: &str, issuer: &str, groups: &[String]) -> pb::Identity {
    pb::Identity {
        subject: subject.to_owned(),
        issuer: issuer.to_owned(),
        groups: groups.to_vec(),
    }
}
