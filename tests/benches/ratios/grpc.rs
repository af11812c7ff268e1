//! `Check` and `CheckStream` on the memory store, against a tonic server that decides nothing.

use std::{num::NonZeroUsize, pin::Pin, time::Duration};

use futures::{Stream, StreamExt as _, future::join_all};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::mpsc,
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Channel, Endpoint},
};
use toolgate_proto::pb::{
    CheckRequest, CheckResponse, CheckStreamRequest, CheckStreamResponse, Decision, Identity,
    PeekRequest, PeekResponse,
    check_request::Operation,
    check_stream_response::Result as Outcome,
    limiter_service_client::LimiterServiceClient,
    limiter_service_server::{LimiterService, LimiterServiceServer},
};
use toolgate_server::{Config, Server, StoreConfig};
use toolgate_tests::PolicyFile;

use crate::{
    TOOLS,
    measure::{Side, compare},
    spread,
};

const IN_FLIGHT: usize = 64;
const CONNECTIONS: usize = 4;
const UNARY: usize = 20_000;
const STREAMED: usize = 100_000;

pub(crate) fn run() {
    let servers = runtime(2);
    let client = runtime(1);
    let policies = PolicyFile::new(&manifest()).expect("a policy");
    let limiter = servers.block_on(limiter(&policies));
    let no_op = servers.block_on(no_op());
    let (limiter, no_op) = (Load::new(&client, &limiter), Load::new(&client, &no_op));
    compare(
        "gRPC, unary, 64 in flight on 4 connections",
        vec![
            Side {
                name: "no-op server",
                run: Box::new(|| no_op.unary()),
            },
            Side {
                name: "Check, memory store",
                run: Box::new(|| limiter.unary()),
            },
        ],
    );
    compare(
        "gRPC, one stream, 64 in flight",
        vec![
            Side {
                name: "no-op server",
                run: Box::new(|| no_op.streamed()),
            },
            Side {
                name: "CheckStream, memory store",
                run: Box::new(|| limiter.streamed()),
            },
        ],
    );
}

fn runtime(threads: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(threads).enable_all().build();
    runtime.expect("a runtime")
}

fn manifest() -> String {
    let both = "global: {maxTokens: 2147483647, refillPeriod: 1s}, perUser: {maxTokens: 2147483647, refillPeriod: 1s}";
    let tool = |tool| format!("{{name: tool-{tool}, {both}}}");
    let tools: Vec<_> = (0..TOOLS).map(tool).collect();
    toolgate_tests::manifest("server", &format!("{both}, tools: [{}]", tools.join(", ")))
}

/// A limiter as `toolgate serve` runs it; its address.
async fn limiter(policies: &PolicyFile) -> String {
    let local = || "127.0.0.1:0".parse().expect("an address");
    let config = Config {
        policies: vec![policies.path()],
        store: StoreConfig::Memory {
            max_users: 1_000_000,
        },
        grpc_listen: local(),
        http_listen: local(),
        workers: NonZeroUsize::MIN,
        drain_timeout: Duration::ZERO,
    };
    let server = Server::bind(&config).await.expect("a limiter");
    let address = server.grpc_address().to_string();
    tokio::spawn(server.run(std::future::pending()));
    address
}

/// A server of the same API that answers at once; its address.
async fn no_op() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
    let address = listener.local_addr().expect("an address").to_string();
    let incoming = TcpListenerStream::new(listener).map(|connection| {
        connection.inspect(|connection| connection.set_nodelay(true).expect("an option"))
    });
    let server = tonic::transport::Server::builder().add_service(LimiterServiceServer::new(NoOp));
    tokio::spawn(server.serve_with_incoming(incoming));
    address
}

struct NoOp;

fn allowed() -> CheckResponse {
    CheckResponse {
        decision: Decision::Allowed.into(),
        ..CheckResponse::default()
    }
}

#[tonic::async_trait]
impl LimiterService for NoOp {
    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        Ok(Response::new(allowed()))
    }

    async fn peek(&self, _: Request<PeekRequest>) -> Result<Response<PeekResponse>, Status> {
        Err(Status::unimplemented("not measured"))
    }

    type CheckStreamStream =
        Pin<Box<dyn Stream<Item = Result<CheckStreamResponse, Status>> + Send>>;

    async fn check_stream(
        &self,
        request: Request<Streaming<CheckStreamRequest>>,
    ) -> Result<Response<Self::CheckStreamStream>, Status> {
        let answers = request.into_inner().map(|request| {
            Ok(CheckStreamResponse {
                id: request?.id,
                result: Some(Outcome::Response(allowed())),
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// A client with its connections, and the checks that it makes.
struct Load<'a> {
    runtime: &'a Runtime,
    clients: Vec<LimiterServiceClient<Channel>>,
    requests: Vec<CheckRequest>,
}

impl<'a> Load<'a> {
    fn new(runtime: &'a Runtime, address: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let connect = || endpoint.connect();
        let connections = (0..CONNECTIONS).map(|_| runtime.block_on(connect()));
        Self {
            runtime,
            clients: connections
                .map(|channel| LimiterServiceClient::new(channel.expect("a connection")))
                .collect(),
            requests: (0..STREAMED).map(request).collect(),
        }
    }

    fn unary(&self) -> usize {
        let workers = (0..IN_FLIGHT).map(|worker| {
            let mut client = self.clients[worker % CONNECTIONS].clone();
            let requests = self.requests[..UNARY]
                .iter()
                .skip(worker)
                .step_by(IN_FLIGHT);
            async move {
                for request in requests {
                    let reply = client.check(request.clone()).await.expect("a decision");
                    assert_eq!(reply.get_ref().decision(), Decision::Allowed);
                }
            }
        });
        self.runtime.block_on(join_all(workers));
        UNARY
    }

    fn streamed(&self) -> usize {
        let mut client = self.clients[0].clone();
        self.runtime.block_on(async {
            let (send, checks) = mpsc::channel(IN_FLIGHT);
            let reply = client.check_stream(ReceiverStream::new(checks)).await;
            let mut replies = reply.expect("a stream").into_inner();
            let mut checks = self
                .requests
                .iter()
                .zip(0..)
                .map(|(check, id)| CheckStreamRequest {
                    id,
                    check: Some(check.clone()),
                    timeout: None,
                    omit_buckets_if_allowed: false,
                });
            for check in checks.by_ref().take(IN_FLIGHT) {
                send.send(check).await.expect("the stream goes on");
            }
            // Each answer lets the next check go.
            for _ in 0..STREAMED {
                let reply = replies.message().await.expect("the stream goes on");
                assert!(matches!(
                    reply.and_then(|r| r.result),
                    Some(Outcome::Response(_))
                ));
                if let Some(check) = checks.next() {
                    send.send(check).await.expect("the stream goes on");
                }
            }
        });
        STREAMED
    }
}

fn request(number: usize) -> CheckRequest {
    let (user, tool) = spread(number);
    CheckRequest {
        server: "test/server".to_owned(),
        identity: Some(Identity {
            subject: format!("user-{user}"),
            ..Identity::default()
        }),
        operation: Some(Operation::Tool(format!("tool-{tool}"))),
        cost: 1,
    }
}
