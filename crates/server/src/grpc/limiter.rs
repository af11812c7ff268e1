//! `toolgate.v1.LimiterService`.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _, future, stream};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use toolgate_limit::{Answer, Check, Limiter as _};
use toolgate_proto::pb::{
    CheckRequest, CheckResponse, CheckStreamRequest, CheckStreamResponse, PeekRequest,
    PeekResponse, limiter_service_server::LimiterService,
};

use super::{in_flight::InFlight, status, stream::responses};
use crate::outage::ReplicaLimiter;

/// Answers checks over gRPC.
#[derive(Debug)]
pub(crate) struct LimiterGrpc {
    limiter: Arc<ReplicaLimiter>,
    in_flight: Arc<InFlight>,
    /// Cancelled when the limiter stops: streams then take no more checks, answer those in flight
    /// and end.
    stopping: CancellationToken,
}

impl LimiterGrpc {
    pub(crate) const fn new(
        limiter: Arc<ReplicaLimiter>,
        in_flight: Arc<InFlight>,
        stopping: CancellationToken,
    ) -> Self {
        Self {
            limiter,
            in_flight,
            stopping,
        }
    }

    async fn decide(&self, check: Check) -> Result<Answer, Status> {
        let admitted = self.in_flight.admit(1);
        let _admitted = admitted.ok_or_else(|| self.in_flight.too_many())?;
        let answer = self.limiter.check(check).await;
        answer.map_err(|error| status::undecided(&error))
    }
}

#[tonic::async_trait]
impl LimiterService for LimiterGrpc {
    async fn check(
        &self,
        request: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        let check = Check::try_from(request.into_inner()).map_err(status::invalid)?;
        Ok(Response::new(self.decide(check).await?.into()))
    }

    async fn peek(&self, request: Request<PeekRequest>) -> Result<Response<PeekResponse>, Status> {
        let check = Check::try_from(request.into_inner()).map_err(status::invalid)?;
        let answer = self.limiter.peek(check).await;
        let answer = answer.map_err(|error| status::undecided(&error))?;
        Ok(Response::new(PeekResponse {
            check: Some(answer.into()),
        }))
    }

    type CheckStreamStream =
        Pin<Box<dyn Stream<Item = Result<CheckStreamResponse, Status>> + Send>>;

    async fn check_stream(
        &self,
        request: Request<Streaming<CheckStreamRequest>>,
    ) -> Result<Response<Self::CheckStreamStream>, Status> {
        // A message that cannot be read ends the requests. The checks before it are answered yet,
        // and the error comes last.
        let (tell, failure) = oneshot::channel();
        let requests = request.into_inner().scan(Some(tell), |tell, request| {
            let told = |status| tell.take().map(|tell| tell.send(status));
            future::ready(request.map_err(told).ok())
        });
        let requests = requests.take_until(self.stopping.clone().cancelled_owned());
        let (limiter, in_flight) = (Arc::clone(&self.limiter), Arc::clone(&self.in_flight));
        let answers = responses(limiter, in_flight, requests).map(Ok);
        let last = stream::once(failure).filter_map(|told| future::ready(told.ok().map(Err)));
        Ok(Response::new(Box::pin(answers.chain(last))))
    }
}
