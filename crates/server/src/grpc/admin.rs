//! `toolgate.v1.AdminService`.

mod activity;
mod fingerprint;

use std::sync::Arc;

use tonic::{Request, Response, Status};
use toolgate_limit::{Identity, Policies as _, Policy, Timestamp};
use toolgate_policy::{Diagnostics, Registry};
use toolgate_proto::{
    InvalidField, admin_operation, identity_of,
    pb::{
        self, GetActivityRequest, GetActivityResponse, GetPolicyRequest, GetPolicyResponse,
        ListBucketsRequest, ListBucketsResponse, ListPoliciesRequest, ListPoliciesResponse,
        ReloadStatus, ResetBucketsRequest, ResetBucketsResponse,
        admin_service_server::AdminService,
    },
    server_of,
};

use super::status;
use crate::outage::ReplicaLimiter;
pub(crate) use activity::ActivityReader;

/// Policies in one page when the caller does not say how many, and at most.
const PAGE_SIZE: (usize, usize) = (100, 1_000);

/// Shows policies and buckets over gRPC, and resets buckets.
#[derive(Debug)]
pub(crate) struct Admin {
    limiter: ReplicaLimiter,
    registry: Arc<Registry>,
    activity: ActivityReader,
}

impl Admin {
    pub(crate) const fn new(
        limiter: ReplicaLimiter,
        registry: Arc<Registry>,
        activity: ActivityReader,
    ) -> Self {
        Self {
            limiter,
            registry,
            activity,
        }
    }

    fn policy(&self, server: &str) -> Result<Arc<Policy>, Status> {
        let server = server_of(server).map_err(status::invalid)?;
        self.limiter
            .policy(&server)
            .ok_or_else(|| status::no_policy(&server))
    }

    fn to_message(&self, policy: &Policy) -> pb::Policy {
        pb::Policy {
            origin: self
                .registry
                .origin(policy.server())
                .map(|origin| origin.to_string())
                .unwrap_or_default(),
            ..policy.into()
        }
    }

    fn reload_status(&self) -> ReloadStatus {
        let status = self.registry.status();
        ReloadStatus {
            generation: status.generation,
            loaded_at: status.loaded_at.map(timestamp),
            errors: status
                .last_failure
                .map(|failure| shown(&failure.diagnostics))
                .unwrap_or_default(),
            rejected: shown(&status.rejected),
        }
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn list_policies(
        &self,
        request: Request<ListPoliciesRequest>,
    ) -> Result<Response<ListPoliciesResponse>, Status> {
        let request = request.into_inner();
        let size = at_most(request.page_size, PAGE_SIZE, "page_size").map_err(status::invalid)?;
        let snapshot = self.registry.snapshot();
        // A token is the last server of the page before, so pages hold together when policies
        // come and go in between.
        let after = request.page_token;
        let mut rest = snapshot
            .policies()
            .into_iter()
            .filter(|policy| policy.server().as_str() > after.as_str());
        let page: Vec<_> = rest.by_ref().take(size).collect();
        let next_page_token = match (page.last(), rest.next()) {
            (Some(last), Some(_)) => last.server().to_string(),
            _ => String::new(),
        };
        Ok(Response::new(ListPoliciesResponse {
            policies: page
                .into_iter()
                .map(|policy| self.to_message(policy))
                .collect(),
            next_page_token,
            reload: Some(self.reload_status()),
        }))
    }

    async fn get_policy(
        &self,
        request: Request<GetPolicyRequest>,
    ) -> Result<Response<GetPolicyResponse>, Status> {
        let policy = self.policy(&request.into_inner().server)?;
        Ok(Response::new(GetPolicyResponse {
            policy: Some(self.to_message(&policy)),
        }))
    }

    async fn list_buckets(
        &self,
        request: Request<ListBucketsRequest>,
    ) -> Result<Response<ListBucketsResponse>, Status> {
        let request = request.into_inner();
        let policy = self.policy(&request.server)?;
        let user = user(request.identity)?;
        let answer = self.limiter.buckets(&policy, user.as_ref()).await;
        let answer = answer.map_err(|error| status::undecided(&error))?;
        Ok(Response::new(ListBucketsResponse {
            buckets: answer.buckets.iter().map(Into::into).collect(),
        }))
    }

    async fn reset_buckets(
        &self,
        request: Request<ResetBucketsRequest>,
    ) -> Result<Response<ResetBucketsResponse>, Status> {
        let request = request.into_inner();
        let policy = self.policy(&request.server)?;
        let user = user(request.identity)?;
        let operation = admin_operation(request.operation.as_ref()).map_err(status::invalid)?;
        let reset = self
            .limiter
            .reset(&policy, user.as_ref(), operation.as_ref())
            .await
            .map_err(|error| status::undecided(&error))?;
        tracing::info!(server = %policy.server(), count = reset, "buckets were reset");
        Ok(Response::new(ResetBucketsResponse {
            reset_count: u32::try_from(reset).unwrap_or(u32::MAX),
        }))
    }

    async fn get_activity(
        &self,
        request: Request<GetActivityRequest>,
    ) -> Result<Response<GetActivityResponse>, Status> {
        let read = self.activity.read(request.get_ref(), self.reload_status());
        Ok(Response::new(read.await.map_err(status::invalid)?))
    }
}

fn shown(diagnostics: &Diagnostics) -> Vec<String> {
    diagnostics.errors().map(ToString::to_string).collect()
}

fn user(identity: Option<pb::Identity>) -> Result<Option<Identity>, Status> {
    identity
        .map(identity_of)
        .transpose()
        .map_err(status::invalid)
}

/// How many the caller asks for in `field`.
fn at_most(
    asked: i32,
    (default, most): (usize, usize),
    field: &str,
) -> Result<usize, InvalidField> {
    match usize::try_from(asked) {
        Ok(0) => Ok(default),
        Ok(asked) => Ok(asked.min(most)),
        Err(_) => Err(InvalidField {
            field: field.to_owned(),
            reason: "must not be negative".to_owned(),
        }),
    }
}

fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let micros = time.as_micros();
    prost_types::Timestamp {
        seconds: i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(micros % 1_000_000 * 1_000).unwrap_or_default(),
    }
}
