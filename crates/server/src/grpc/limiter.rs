//! `toolgate.v1.LimiterService`.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _, future, stream};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status, Streaming};
use toolgate_limit::{Answer, Check};
use toolgate_proto::pb::{
    CheckRequest, CheckResponse, CheckStreamRequest, CheckStreamResponse, PeekRequest,
    PeekResponse, limiter_service_server::LimiterService,
};

use super::{
    Peer,
    check_bound::CheckBound,
    handover, status,
    stream::{Decider, responses},
};
use crate::observe::{CheckErrors, ObservedLimiter};

/// Answers checks over gRPC.
#[derive(Debug)]
pub(crate) struct LimiterGrpc {
    limiter: Arc<ObservedLimiter>,
    checks: Arc<CheckBound>,
    errors: CheckErrors,
}

impl LimiterGrpc {
    /// Checks of a stream that get an error are counted in `errors`; a call of its own is counted
    /// with the call.
    pub(crate) const fn new(
        limiter: Arc<ObservedLimiter>,
        checks: Arc<CheckBound>,
        errors: CheckErrors,
    ) -> Self {
        Self {
            limiter,
            checks,
            errors,
        }
    }

    async fn decide(&self, check: Check) -> Result<Answer, Status> {
        let admitted = self.checks.admit(1);
        let _admitted = admitted.ok_or_else(|| self.checks.too_many())?;
        let answer = self.limiter.check(check).await;
        answer.map_err(|error| status::undecided(&error.into()))
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
        Ok(Response::new(self.decide(check).await?.into()))
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
        let requests = requests.take_until(peer.was_cut());
        let decider = Decider {
            limiter: Arc::clone(&self.limiter),
            bound: Arc::clone(&self.checks),
            peer: Arc::clone(&peer),
            errors: self.errors.clone(),
        };
        let answers = responses(decider, requests).map(Ok);
        let last = stream::once(failure).filter_map(|told| future::ready(told.ok().map(Err)));
        let answers = handover::announce(Box::pin(answers.chain(last)), &peer);
        Ok(Response::new(Box::pin(answers)))
    }
}
