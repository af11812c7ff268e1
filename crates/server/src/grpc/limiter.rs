//! `toolgate.v1.LimiterService`.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _, future, stream};
use tokio::{sync::oneshot, time::timeout};
use tonic::{Request, Response, Status, Streaming};
use toolgate_limit::{Check, Limiter};
use toolgate_proto::pb::{
    CheckRequest, CheckResponse, CheckStreamRequest, CheckStreamResponse, PeekRequest,
    PeekResponse, check_stream_response::Result as Outcome, limiter_service_server::LimiterService,
};

use super::{Peer, handover, status};

/// The most checks of one stream that are decided at a time. While there are so many, the stream
/// is not read, and HTTP/2 flow control holds the caller back.
const MAX_IN_FLIGHT_PER_STREAM: usize = 1_024;

/// Answers checks over gRPC.
#[derive(Debug)]
pub(crate) struct LimiterGrpc {
    limiter: Arc<dyn Limiter>,
}

impl LimiterGrpc {
    pub(crate) fn new(limiter: Arc<dyn Limiter>) -> Self {
        Self { limiter }
    }
}

#[tonic::async_trait]
impl LimiterService for LimiterGrpc {
    async fn check(
        &self,
        request: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        let peer = Peer::of(request.extensions())?;
        let check = Check::try_from(request.into_inner()).map_err(status::invalid)?;
        peer.caller.may_check(&check.server)?;
        let answer = self.limiter.check(check).await;
        let answer = answer.map_err(|error| status::undecided(&error))?;
        Ok(Response::new(answer.into()))
    }

    async fn peek(&self, request: Request<PeekRequest>) -> Result<Response<PeekResponse>, Status> {
        let peer = Peer::of(request.extensions())?;
        let check = Check::try_from(request.into_inner()).map_err(status::invalid)?;
        peer.caller.may_check(&check.server)?;
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
        let peer = Peer::of(request.extensions())?;
        // A message that cannot be read ends the requests. The checks before it are answered yet,
        // and the error comes last.
        let (tell, failure) = oneshot::channel();
        let requests = request.into_inner().scan(Some(tell), |tell, request| {
            let told = |status| tell.take().map(|tell| tell.send(status));
            future::ready(request.map_err(told).ok())
        });
        let limiter = Arc::clone(&self.limiter);
        let answers = requests
            .take_until(peer.was_cut())
            .map({
                let peer = Arc::clone(&peer);
                move |request| answer(Arc::clone(&limiter), Arc::clone(&peer), request)
            })
            .buffer_unordered(MAX_IN_FLIGHT_PER_STREAM)
            .map(Ok);
        let last = stream::once(failure).filter_map(|told| future::ready(told.ok().map(Err)));
        let answers = handover::announce(Box::pin(answers.chain(last)), &peer);
        Ok(Response::new(Box::pin(answers)))
    }
}

/// The answer to one check of a stream. An error is one of this check, not of the stream.
async fn answer(
    limiter: Arc<dyn Limiter>,
    peer: Arc<Peer>,
    request: CheckStreamRequest,
) -> CheckStreamResponse {
    let id = request.id;
    let result = match decide(&*limiter, &peer, request).await {
        Ok(response) => Outcome::Response(response),
        Err(status) => Outcome::Error(status::to_message(&status)),
    };
    CheckStreamResponse {
        id,
        result: Some(result),
        leaving: false,
    }
}

async fn decide(
    limiter: &dyn Limiter,
    peer: &Peer,
    request: CheckStreamRequest,
) -> Result<CheckResponse, Status> {
    let omit_buckets = request.omit_buckets_if_allowed;
    let (check, patience) = request.into_check().map_err(status::invalid)?;
    peer.caller.may_check(&check.server)?;
    let answer = match patience {
        None => limiter.check(check).await,
        Some(patience) => timeout(patience, limiter.check(check))
            .await
            .map_err(|_| status::too_late())?,
    };
    let mut answer = answer.map_err(|error| status::undecided(&error))?;
    if omit_buckets && answer.decision.is_allowed() {
        answer.buckets.clear();
    }
    Ok(answer.into())
}
