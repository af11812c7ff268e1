//! `toolgate.v1.AdminService`.

mod activity;
mod fingerprint;

use std::sync::Arc;

use tokio::task::spawn_blocking;
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
pub(crate) use activity::{ActivityReader, Readings};

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
        let registry = Arc::clone(&self.registry);
        // Of many policies that takes a while, which checks of this worker would wait for.
        let page = spawn_blocking(move || page(&registry, size, &request.page_token));
        let (policies, next_page_token) = page.await.map_err(|_| status::failed())?;
        Ok(Response::new(ListPoliciesResponse {
            policies,
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
            policy: Some(to_message(&self.registry, &policy)),
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
        Ok(Response::new(read.await?))
    }
}

/// Up to `size` policies, and the token of the next page: the last server of this one, so pages hold
/// together when policies come and go in between.
fn page(registry: &Registry, size: usize, after: &str) -> (Vec<pb::Policy>, String) {
    let snapshot = registry.snapshot();
    let mut rest = snapshot
        .policies()
        .into_iter()
        .filter(|policy| policy.server().as_str() > after);
    let page: Vec<_> = rest.by_ref().take(size).collect();
    let next = match (page.last(), rest.next()) {
        (Some(last), Some(_)) => last.server().to_string(),
        _ => String::new(),
    };
    let messages = page.into_iter().map(|policy| to_message(registry, policy));
    (messages.collect(), next)
}

fn to_message(registry: &Registry, policy: &Policy) -> pb::Policy {
    let origin = registry.origin(policy.server());
    pb::Policy {
        origin: origin.map(|origin| origin.to_string()).unwrap_or_default(),
        ..policy.into()
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
