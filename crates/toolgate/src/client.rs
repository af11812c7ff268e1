//! Calls to a limiter. Each has a deadline, which covers connecting too.

mod endpoint;
mod error;
mod tls;

use std::time::Duration;

use clap::Args;
use tokio::time::timeout;
use tonic::{Request, Response, Status, transport::Channel};
use toolgate_limit::GoDuration;
use toolgate_proto::pb::{
    self, admin_service_client::AdminServiceClient, limiter_service_client::LimiterServiceClient,
};

use self::error::Cause;
pub(crate) use self::{
    endpoint::Endpoint,
    error::{CallError, code_name},
    tls::TlsArgs,
};

/// A page of policies may have many tools each; tonic's own bound is 4 MiB.
const MAX_REPLY_BYTES: usize = 64 << 20;

/// Which limiter to ask, and how long to wait.
#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    #[arg(
        help = "The limiter, as http://host:port, https://host:port or unix:///path",
        long,
        value_name = "URL",
        env = "TOOLGATE_ENDPOINT",
        default_value = "http://127.0.0.1:7070"
    )]
    endpoint: Endpoint,
    /// How long to wait for each answer, connecting included, for example 500ms or 1m30s
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = positive_duration)]
    timeout: GoDuration,
    #[command(flatten)]
    tls: TlsArgs,
}

/// A duration above zero.
pub(crate) fn positive_duration(text: &str) -> Result<GoDuration, String> {
    match text.parse() {
        Ok(GoDuration(Duration::ZERO)) => Err("must be more than zero".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

impl ClientArgs {
    /// A client that connects when it first calls. Must run on a tokio runtime.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(&self.tls.of(&self.endpoint)?, self.timeout))
    }
}

/// A limiter's two services.
#[derive(Debug)]
pub(crate) struct Client {
    channel: Channel,
    endpoint: Endpoint,
    timeout: GoDuration,
}

impl Client {
    /// A client that connects when it first calls. Must run on a tokio runtime.
    pub(crate) fn new(endpoint: &Endpoint, timeout: GoDuration) -> Self {
        Self {
            channel: endpoint.channel(),
            endpoint: endpoint.clone(),
            timeout,
        }
    }

    /// Decides one call, and pays for it.
    pub(crate) async fn check(
        &self,
        request: Request<pb::CheckRequest>,
    ) -> Result<pb::CheckResponse, CallError> {
        let answer = self.call("check", self.limiter().check(request)).await?;
        self.decided("check", Some(answer))
    }

    /// Decides one call, and pays nothing.
    pub(crate) async fn peek(
        &self,
        request: Request<pb::PeekRequest>,
    ) -> Result<pb::CheckResponse, CallError> {
        let answer = self.call("peek", self.limiter().peek(request)).await?;
        self.decided("peek", answer.check)
    }

    /// The buckets of a server or a user.
    pub(crate) async fn list_buckets(
        &self,
        request: pb::ListBucketsRequest,
    ) -> Result<pb::ListBucketsResponse, CallError> {
        self.call("listing buckets", self.admin().list_buckets(request))
            .await
    }

    /// Makes buckets full again.
    pub(crate) async fn reset_buckets(
        &self,
        request: pb::ResetBucketsRequest,
    ) -> Result<pb::ResetBucketsResponse, CallError> {
        self.call("resetting buckets", self.admin().reset_buckets(request))
            .await
    }

    /// One page of the policies in force.
    pub(crate) async fn list_policies(
        &self,
        request: pb::ListPoliciesRequest,
    ) -> Result<pb::ListPoliciesResponse, CallError> {
        self.call("listing policies", self.admin().list_policies(request))
            .await
    }

    /// The policy of one server.
    pub(crate) async fn get_policy(
        &self,
        request: pb::GetPolicyRequest,
    ) -> Result<pb::Policy, CallError> {
        let reply = self
            .call("reading the policy", self.admin().get_policy(request))
            .await?;
        Ok(reply.policy.unwrap_or_default())
    }

    /// What one replica knows of itself.
    pub(crate) async fn get_activity(
        &self,
        request: pb::GetActivityRequest,
    ) -> Result<pb::GetActivityResponse, CallError> {
        self.call("reading the activity", self.admin().get_activity(request))
            .await
    }

    fn limiter(&self) -> LimiterServiceClient<Channel> {
        LimiterServiceClient::new(self.channel.clone())
    }

    fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_REPLY_BYTES)
    }

    async fn call<T>(
        &self,
        what: &'static str,
        reply: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CallError> {
        match timeout(self.timeout.0, reply).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => Err(self.error(what, status.into())),
            Err(_elapsed) => Err(self.error(what, Cause::NoAnswer(self.timeout))),
        }
    }

    /// The answer, if it says allowed or denied: anything else must not look like either.
    fn decided(
        &self,
        what: &'static str,
        answer: Option<pb::CheckResponse>,
    ) -> Result<pb::CheckResponse, CallError> {
        answer
            .filter(|answer| answer.decision() != pb::Decision::Unspecified)
            .ok_or_else(|| self.error(what, Cause::NoDecision))
    }

    fn error(&self, call: &'static str, cause: Cause) -> CallError {
        CallError {
            call,
            endpoint: self.endpoint.to_string(),
            cause,
        }
    }
}
