//! A limiter in this process that does as it is told.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on fails"
)]

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{Stream, StreamExt as _, stream};
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code, Request, Response, Status, Streaming,
    transport::{Server, ServerTlsConfig},
};
use toolgate_proto::pb::{
    self, CheckRequest, CheckResponse, CheckStreamRequest, CheckStreamResponse, Decision,
    PeekRequest, PeekResponse,
    check_stream_response::Result as Outcome,
    limiter_service_server::{LimiterService, LimiterServiceServer},
};

/// How a fake limiter answers checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Allows all.
    Allow,
    /// Denies all: 10 calls per 70 s and user, the next after 7 s.
    Deny,
    /// Never answers.
    Silent,
    /// Answers when the caller has long gone.
    Late(Duration),
    /// Answers with an error, and goes on.
    Error(Code),
    /// Ends the stream with an error.
    End(Code),
    /// Answers what cannot be read.
    Malformed,
    /// Answers other checks than those that were asked.
    WrongId,
}

/// A limiter of its own runtime. Dropping it kills it with all its connections.
#[derive(Debug)]
pub struct FakeLimiter {
    runtime: Option<Runtime>,
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    manner: Mutex<Manner>,
    /// How often each subject was asked for.
    seen: Mutex<HashMap<String, u64>>,
    /// The longest time that a caller said it would wait.
    patience: Mutex<Duration>,
}

impl FakeLimiter {
    /// A limiter on a free port of `127.0.0.1`.
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        Self::start_on(listener, manner, None)
    }

    /// A limiter that `listener` leads to, and that speaks TLS if it has some.
    pub fn start_on(listener: TcpListener, manner: Manner, tls: Option<ServerTlsConfig>) -> Self {
        let shared = Arc::new(Shared {
            manner: Mutex::new(manner),
            seen: Mutex::default(),
            patience: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let address = listener.local_addr().expect("bound");
        listener.set_nonblocking(true).expect("a socket");
        let service = LimiterServiceServer::new(Fake(Arc::clone(&shared)));
        runtime.spawn(async move {
            let mut server = Server::builder();
            if let Some(tls) = tls {
                server = server.tls_config(tls).expect("valid TLS files");
            }
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            let incoming = TcpListenerStream::new(listener);
            let router = server.add_service(service);
            router.serve_with_incoming(incoming).await.expect("served");
        });
        Self {
            runtime: Some(runtime),
            address,
            shared,
        }
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers in this manner from now on.
    pub fn behave(&self, manner: Manner) {
        *self.shared.manner.lock().expect("not poisoned") = manner;
    }

    /// Checks that have come so far.
    pub fn checks(&self) -> u64 {
        self.shared
            .seen
            .lock()
            .expect("not poisoned")
            .values()
            .sum()
    }

    /// The most checks that have come for one subject.
    pub fn most_of_one_subject(&self) -> u64 {
        let seen = self.shared.seen.lock().expect("not poisoned");
        seen.values().copied().max().unwrap_or_default()
    }

    /// The longest time that a caller has said it would wait.
    pub fn patience(&self) -> Duration {
        *self.shared.patience.lock().expect("not poisoned")
    }
}

impl Drop for FakeLimiter {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Fake(Arc<Shared>);

impl Shared {
    fn see(&self, check: Option<CheckRequest>) -> Manner {
        let subject = check.and_then(|check| check.identity).unwrap_or_default();
        let mut seen = self.seen.lock().expect("not poisoned");
        *seen.entry(subject.subject).or_default() += 1;
        *self.manner.lock().expect("not poisoned")
    }

    async fn answer(&self, request: CheckStreamRequest) -> Result<CheckStreamResponse, Status> {
        if let Some(timeout) = request.timeout {
            let timeout = Duration::try_from(timeout).expect("a positive timeout");
            let mut patience = self.patience.lock().expect("not poisoned");
            *patience = timeout.max(*patience);
        }
        let mut id = request.id;
        let result = match self.see(request.check) {
            Manner::Allow => Outcome::Response(allowed()),
            Manner::Deny => Outcome::Response(denied()),
            Manner::Silent => std::future::pending().await,
            Manner::Late(by) => {
                tokio::time::sleep(by).await;
                Outcome::Response(denied())
            }
            Manner::Error(code) => Outcome::Error(tonic_types::Status {
                code: code.into(),
                message: "as told".to_owned(),
                details: Vec::new(),
            }),
            Manner::End(code) => return Err(Status::new(code, "as told")),
            Manner::Malformed => Outcome::Response(CheckResponse::default()),
            Manner::WrongId => {
                id += 1_000_000;
                Outcome::Response(denied())
            }
        };
        Ok(CheckStreamResponse {
            id,
            result: Some(result),
            leaving: false,
        })
    }
}

#[tonic::async_trait]
impl LimiterService for Fake {
    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        Err(Status::unimplemented("the client uses the stream"))
    }

    async fn peek(&self, request: Request<PeekRequest>) -> Result<Response<PeekResponse>, Status> {
        let check = match self.0.see(request.into_inner().check) {
            Manner::Allow => allowed(),
            Manner::Deny => denied(),
            Manner::Error(code) => return Err(Status::new(code, "as told")),
            _ => std::future::pending().await,
        };
        Ok(Response::new(PeekResponse { check: Some(check) }))
    }

    type CheckStreamStream =
        Pin<Box<dyn Stream<Item = Result<CheckStreamResponse, Status>> + Send>>;

    async fn check_stream(
        &self,
        request: Request<Streaming<CheckStreamRequest>>,
    ) -> Result<Response<Self::CheckStreamStream>, Status> {
        let shared = Arc::clone(&self.0);
        let answers = request
            .into_inner()
            .flat_map_unordered(None, move |request| {
                let shared = Arc::clone(&shared);
                let answer = async move { shared.answer(request?).await };
                stream::once(Box::pin(answer))
            });
        Ok(Response::new(Box::pin(answers)))
    }
}

fn allowed() -> CheckResponse {
    CheckResponse {
        decision: Decision::Allowed.into(),
        ..CheckResponse::default()
    }
}

fn denied() -> CheckResponse {
    let limit = Some(pb::Limit {
        scope: pb::Scope::PerUser.into(),
        operation: None,
    });
    let duration = |seconds| Some(Duration::from_secs(seconds).try_into().expect("short"));
    CheckResponse {
        decision: Decision::Denied.into(),
        denial: Some(pb::Denial {
            limit: limit.clone(),
            retry_after: duration(7),
            message: String::new(),
        }),
        buckets: vec![pb::BucketStatus {
            limit,
            capacity: 10,
            refill_period: duration(70),
            remaining: 0,
            full_after: duration(70),
        }],
        ..CheckResponse::default()
    }
}
