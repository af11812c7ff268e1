//! A limiter that gives the answers it was told to, and remembers what it was asked.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use tokio::{
    net::{TcpListener, UnixListener},
    runtime::Runtime,
};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};
use toolgate_proto::pb::{
    self,
    admin_service_server::{AdminService, AdminServiceServer},
    limiter_service_server::{LimiterService, LimiterServiceServer},
};

type Answer<T> = Result<T, Status>;

/// The script: the answers of each call, first come first served.
#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) checks: VecDeque<Answer<pb::CheckResponse>>,
    pub(crate) buckets: VecDeque<Answer<pb::ListBucketsResponse>>,
    pub(crate) resets: VecDeque<Answer<pb::ResetBucketsResponse>>,
    pub(crate) pages: VecDeque<Answer<pb::ListPoliciesResponse>>,
    pub(crate) policies: VecDeque<Answer<pb::GetPolicyResponse>>,
    pub(crate) activities: VecDeque<Answer<pb::GetActivityResponse>>,
}

/// The requests of each call, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) checks: Vec<pb::CheckRequest>,
    pub(crate) peeks: Vec<pb::CheckRequest>,
    pub(crate) buckets: Vec<pb::ListBucketsRequest>,
    pub(crate) resets: Vec<pb::ResetBucketsRequest>,
    pub(crate) pages: Vec<pb::ListPoliciesRequest>,
    pub(crate) policies: Vec<pb::GetPolicyRequest>,
    pub(crate) activities: Vec<pb::GetActivityRequest>,
}

/// A running limiter, which stops when dropped.
#[derive(Debug)]
pub(crate) struct Limiter {
    pub(crate) endpoint: String,
    script: Shared,
    _runtime: Runtime,
}

#[derive(Clone, Debug)]
struct Shared(Arc<Mutex<(Script, Asked)>>);

impl Limiter {
    /// On a free port.
    pub(crate) fn start(script: Script) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let script = Shared(Arc::new(Mutex::new((script, Asked::default()))));
        let router = Server::builder()
            .add_service(LimiterServiceServer::new(script.clone()))
            .add_service(AdminServiceServer::new(script.clone()));
        runtime.spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        Self {
            endpoint,
            script,
            _runtime: runtime,
        }
    }

    /// On a Unix socket at `path`.
    pub(crate) fn start_on_socket(script: Script, path: &Path) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let listener = runtime
            .block_on(async { UnixListener::bind(path) })
            .expect("a new path");
        let script = Shared(Arc::new(Mutex::new((script, Asked::default()))));
        let router = Server::builder().add_service(LimiterServiceServer::new(script.clone()));
        runtime.spawn(router.serve_with_incoming(UnixListenerStream::new(listener)));
        Self {
            endpoint: format!("unix://{}", path.display()),
            script,
            _runtime: runtime,
        }
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Asked {
        self.script.with(|_, asked| asked.clone())
    }
}

impl Shared {
    fn with<T>(&self, use_it: impl FnOnce(&mut Script, &mut Asked) -> T) -> T {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (script, asked) = &mut *shared;
        use_it(script, asked)
    }
}

fn next<T>(answers: &mut VecDeque<Answer<T>>) -> Answer<T> {
    let off_script = || Err(Status::internal("the script has no more answers"));
    answers.pop_front().unwrap_or_else(off_script)
}

#[async_trait]
impl LimiterService for Shared {
    type CheckStreamStream = tokio_stream::Empty<Answer<pb::CheckStreamResponse>>;

    async fn check(
        &self,
        request: Request<pb::CheckRequest>,
    ) -> Answer<Response<pb::CheckResponse>> {
        self.with(|script, asked| {
            asked.checks.push(request.into_inner());
            next(&mut script.checks).map(Response::new)
        })
    }

    async fn peek(&self, request: Request<pb::PeekRequest>) -> Answer<Response<pb::PeekResponse>> {
        self.with(|script, asked| {
            asked.peeks.extend(request.into_inner().check);
            let check = Some(next(&mut script.checks)?);
            Ok(Response::new(pb::PeekResponse { check }))
        })
    }

    async fn check_stream(
        &self,
        _: Request<Streaming<pb::CheckStreamRequest>>,
    ) -> Answer<Response<Self::CheckStreamStream>> {
        Ok(Response::new(tokio_stream::empty()))
    }
}

#[async_trait]
impl AdminService for Shared {
    async fn list_policies(
        &self,
        request: Request<pb::ListPoliciesRequest>,
    ) -> Answer<Response<pb::ListPoliciesResponse>> {
        self.with(|script, asked| {
            asked.pages.push(request.into_inner());
            next(&mut script.pages).map(Response::new)
        })
    }

    async fn get_policy(
        &self,
        request: Request<pb::GetPolicyRequest>,
    ) -> Answer<Response<pb::GetPolicyResponse>> {
        self.with(|script, asked| {
            asked.policies.push(request.into_inner());
            next(&mut script.policies).map(Response::new)
        })
    }

    async fn list_buckets(
        &self,
        request: Request<pb::ListBucketsRequest>,
    ) -> Answer<Response<pb::ListBucketsResponse>> {
        self.with(|script, asked| {
            asked.buckets.push(request.into_inner());
            next(&mut script.buckets).map(Response::new)
        })
    }

    async fn get_activity(
        &self,
        request: Request<pb::GetActivityRequest>,
    ) -> Answer<Response<pb::GetActivityResponse>> {
        self.with(|script, asked| {
            asked.activities.push(request.into_inner());
            next(&mut script.activities).map(Response::new)
        })
    }

    async fn reset_buckets(
        &self,
        request: Request<pb::ResetBucketsRequest>,
    ) -> Answer<Response<pb::ResetBucketsResponse>> {
        self.with(|script, asked| {
            asked.resets.push(request.into_inner());
            next(&mut script.resets).map(Response::new)
        })
    }
}
