//! A server of the same API that allows everything at once: what gRPC alone costs.

use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};
use toolgate_proto::pb::{
    CheckRequest, CheckResponse, CheckStreamRequest, CheckStreamResponse, Decision, PeekRequest,
    PeekResponse,
    check_stream_response::Result as Outcome,
    limiter_service_server::{LimiterService, LimiterServiceServer},
};

/// The argument that makes this program such a server.
pub(crate) const COMMAND: &str = "serve-no-op";

/// Serves until it is killed, on as many threads as a limiter.
pub(crate) fn serve() {
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
        println!("gRPC {}", listener.local_addr().expect("an address"));
        let incoming = TcpListenerStream::new(listener).map(|connection| {
            connection.inspect(|connection| connection.set_nodelay(true).expect("an option"))
        });
        let service = LimiterServiceServer::new(NoOp);
        let server = tonic::transport::Server::builder().add_service(service);
        server
            .serve_with_incoming(incoming)
            .await
            .expect("it serves");
    });
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
                leaving: false,
                id: request?.id,
                result: Some(Outcome::Response(allowed())),
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}
