//! `toolgate.v1.LimiterService`.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _, future, stream};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status, Streaming};
use toolgate_limit::{Answer, Check};
use toolgate_proto::{
    InvalidField,
    pb::{
        CheckRequest, CheckResponse, CheckStreamRequest, CheckStreamResponse, PeekRequest,
        PeekResponse, limiter_service_server::LimiterService,
    },
};
use toolgate_telemetry::{REQUEST_ID, RequestId};

use super::{
    Peer, handover,
    span::{self, CheckSpan, Method, Tracing},
    status,
    stream::{Decider, responses},
};
use crate::observe::{CheckErrors, ObservedLimiter};

/// Answers checks over gRPC.
#[derive(Debug)]
pub(crate) struct LimiterGrpc {
    limiter: Arc<ObservedLimiter>,
    errors: CheckErrors,
    tracing: Arc<Tracing>,
}

impl LimiterGrpc {
    /// Checks of a stream that get an error are counted in `errors`; a call of its own is counted
    /// with the call.
    pub(crate) fn new(limiter: Arc<ObservedLimiter>, errors: CheckErrors) -> Self {
        Self {
            limiter,
            errors,
            tracing: Arc::new(Tracing::of_process()),
        }
    }

    async fn decide(
        &self,
        request: Request<CheckRequest>,
        span: Option<&mut CheckSpan>,
    ) -> Result<Answer, Status> {
        let peer = Peer::of(request.extensions())?;
        let check = read(&peer, request, span)?;
        let admitted = peer.allowance.check();
        let _admitted = admitted.map_err(|full| status::too_many("checks", full))?;
        let answer = self.limiter.check(check).await;
        answer.map_err(|error| status::undecided(&error.into()))
    }

    async fn look(
        &self,
        request: Request<PeekRequest>,
        span: Option<&mut CheckSpan>,
    ) -> Result<Answer, Status> {
        let peer = Peer::of(request.extensions())?;
        let answer = self.limiter.peek(read(&peer, request, span)?).await;
        answer.map_err(|error| status::undecided(&error))
    }
}

/// The check of a single call, if it is one that `peer` may ask for. It goes on beneath `span`.
#[allow(clippy::result_large_err, reason = "as tonic wants it")]
fn read<R>(peer: &Peer, request: Request<R>, span: Option<&mut CheckSpan>) -> Result<Check, Status>
where
    Check: TryFrom<R, Error = InvalidField>,
{
    let above = span::context_in(request.metadata());
    let mut check = Check::try_from(request.into_inner()).map_err(status::invalid)?;
    peer.caller.may_check(&check.server)?;
    match span {
        Some(span) => span.of(&mut check),
        // Whoever looks for the call finds its trace, if only without this part of it.
        None => check.trace = above.filter(|above| above.is_sampled).map(Arc::new),
    }
    Ok(check)
}

#[tonic::async_trait]
impl LimiterService for LimiterGrpc {
    async fn check(
        &self,
        request: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        let mut span = self.tracing.of_call(Method::Check, request.metadata());
        let answer = self.decide(request, span.as_mut()).await;
        span::end(span, &answer);
        Ok(Response::new(answer?.into()))
    }

    async fn peek(&self, request: Request<PeekRequest>) -> Result<Response<PeekResponse>, Status> {
        let mut span = self.tracing.of_call(Method::Peek, request.metadata());
        let answer = self.look(request, span.as_mut()).await;
        span::end(span, &answer);
        Ok(Response::new(PeekResponse {
            check: Some(answer?.into()),
        }))
    }

    type CheckStreamStream =
        Pin<Box<dyn Stream<Item = Result<CheckStreamResponse, Status>> + Send>>;

    async fn check_stream(
        &self,
        request: Request<Streaming<CheckStreamRequest>>,
    ) -> Result<Response<Self::CheckStreamStream>, Status> {
        let peer = Peer::of(request.extensions())?;
        let id = request.metadata().get(REQUEST_ID);
        let id = id.and_then(|id| RequestId::chosen(id.to_str().ok()?));
        let id = id.unwrap_or_else(RequestId::make);
        // A message that cannot be read ends the requests. The checks before it are answered yet,
        // and the error comes last.
        let (tell, failure) = oneshot::channel();
        let requests = request.into_inner().scan(Some(tell), |tell, request| {
            let told = |status| {
                tell.take()
                    .map(|tell| tell.send(status::of_message(status)))
            };
            future::ready(request.map_err(told).ok())
        });
        let requests = requests.take_until(peer.was_cut());
        let decider = Decider {
            limiter: Arc::clone(&self.limiter),
            tracing: Arc::clone(&self.tracing),
            peer: Arc::clone(&peer),
            errors: self.errors.clone(),
        };
        let answers = responses(decider, requests);
        let last = stream::once(failure).filter_map(|told| future::ready(told.ok().map(Err)));
        let answers = answers.chain(last).map(move |answer| match answer {
            Ok(response) => Ok(status::of_stream(response, &id)),
            Err(error) => Err(status::of_request(&error, &id)),
        });
        let answers = handover::announce(Box::pin(answers), &peer);
        Ok(Response::new(Box::pin(answers)))
    }
}
