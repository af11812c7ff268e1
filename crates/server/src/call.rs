//! One call on a connection, on its way to its gRPC service.
//!
//! Here a call gets its bounds: in number, of its caller and of all, and in time until its answer begins,
//! so that one whose request never comes is not waited for.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt as _, future::Either};
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::{Bytes, Incoming};
use tokio::time::timeout;
use tonic::{Code, Status, body::Body, service::Routes};
use toolgate_telemetry::RequestId;
use tower_service::Service as _;

use crate::{
    bound::Places,
    grpc::{
        InFlight, Malformed, Peer, Share, Unread, counted_as, of_message, of_request, too_many,
        unanswered,
    },
    observe::CheckErrors,
    shares::Purpose,
};

mod arriving;

use arriving::Arriving;

/// The longest time until an answer begins. What a stream answers later has no such bound.
const LONGEST: Duration = Duration::from_secs(30);

/// The calls of one connection.
#[derive(Debug)]
pub(crate) struct Calls {
    pub(crate) routes: Routes,
    pub(crate) peer: Arc<Peer>,
    pub(crate) errors: CheckErrors,
    /// How long a message may take from its first byte to its last.
    pub(crate) message_timeout: Duration,
}

type Answer = Response<Answering>;

impl hyper::service::Service<Request<Incoming>> for Calls {
    type Response = Answer;
    type Error = Infallible;
    type Future = Either<
        Ready<Result<Answer, Infallible>>,
        Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>,
    >;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let purpose = Purpose::of(request.uri().path());
        // Checks of a stream are counted there.
        let is_check = purpose == Purpose::Check;
        if let Some(malformed) = Malformed::of(&request) {
            if is_check {
                self.errors.count(malformed.code());
            }
            let refused = malformed.answer(&RequestId::of(request.headers()));
            return Either::Left(ready(Ok(refused.map(Answering::without_call))));
        }
        let allowance = &self.peer.allowance;
        let admitted = allowance.call();
        let admitted = admitted.and_then(|call| Ok((call, allowance.side_call(purpose)?)));
        let (admitted, side_call) = match admitted {
            Ok(admitted) => admitted,
            Err(full) => {
                let refused = too_many("calls", full);
                if is_check {
                    self.errors.count(Code::ResourceExhausted);
                }
                let id = RequestId::of(request.headers());
                let refused = refusal(&of_request(&refused, &id));
                return Either::Left(ready(Ok(refused.map(Answering::without_call))));
            }
        };
        let in_flight = (self.peer.begin_call(), admitted);
        let share = Arc::clone(&self.peer.share);
        let patience = patience(request.headers());
        let id = RequestId::given(request.headers());
        request.extensions_mut().insert(Arc::clone(&self.peer));
        let request = request.map(|body| Arriving::new(body, self.message_timeout));
        let answer = self.routes.clone().call(request);
        let owed = is_check.then(|| self.errors.unanswered(1));
        let is_single = purpose != Purpose::CheckStream;
        Either::Right(
            async move {
                let answer = match timeout(patience, answer).await {
                    Ok(Ok(answer)) => answer,
                    Err(_) => refusal(&unanswered()),
                };
                // What is left of a query is an answer that its caller may read when it likes.
                let side_call = side_call.filter(|_| purpose != Purpose::Query);
                // None of an answer that has begun: what ends it stands in its trailers.
                let failure = Status::from_header_map(answer.headers());
                let failure = failure.filter(|status| status.code() != Code::Ok);
                let failure = failure.map(of_message);
                match (owed, &failure) {
                    (Some(owed), None) => owed.answered(),
                    (Some(owed), Some(status)) => owed.failed(counted_as(status)),
                    (None, _) => {}
                }
                let answer = match failure {
                    None => answer,
                    Some(status) => {
                        refusal(&of_request(&status, &id.unwrap_or_else(RequestId::make)))
                    }
                };
                Ok(answer.map(|body| Answering {
                    body,
                    _in_flight: Some(in_flight),
                    _side_call: side_call,
                    unread: None,
                    share: Some((share, is_single)),
                }))
            }
            .boxed(),
        )
    }
}

fn refusal(status: &Status) -> Response<Body> {
    status.clone().into_http()
}

/// The body of an answer. While it lasts, its call is in flight.
#[derive(Debug)]
pub(crate) struct Answering {
    body: Body,
    _in_flight: Option<(InFlight, Places<2>)>,
    _side_call: Option<Places<3>>,
    /// What HTTP/2 was given last, until it asks for more: then that is sent. It asks for the first before
    /// there is a window.
    unread: Option<Unread>,
    /// Of its connection, and whether this answers a single call.
    share: Option<(Arc<Share>, bool)>,
}

impl Answering {
    const fn without_call(body: Body) -> Self {
        Self {
            body,
            _in_flight: None,
            _side_call: None,
            unread: None,
            share: None,
        }
    }
}

impl http_body::Body for Answering {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.unread = None;
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(_))) = &frame {
            self.unread = self.share.as_ref().map(|(share, is_single)| {
                if *is_single {
                    share.unread_single()
                } else {
                    share.unread()
                }
            });
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How long the caller waits for its answer to begin, as far as it says so, and no longer than
/// [`LONGEST`].
fn patience(headers: &HeaderMap) -> Duration {
    let told = headers.get("grpc-timeout");
    let told = told.and_then(|told| grpc_timeout(told.to_str().ok()?));
    told.unwrap_or(LONGEST).min(LONGEST)
}

/// A duration as gRPC writes it over HTTP/2: at most eight digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let unit = text.len().checked_sub(1)?;
    let (digits, unit) = text.split_at_checked(unit)?;
    if digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_hours(value),
        "M" => Duration::from_mins(value),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_reads_as_grpc_writes_it() {
        for (text, timeout) in [
            ("1H", Some(Duration::from_hours(1))),
            ("2M", Some(Duration::from_mins(2))),
            ("3S", Some(Duration::from_secs(3))),
            ("50m", Some(Duration::from_millis(50))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("0n", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("5", None),
            ("+5S", None),
            ("123456789S", None),
            ("5 S", None),
            ("5s", None),
            ("5é", None),
        ] {
            assert_eq!(grpc_timeout(text), timeout, "{text:?}");
        }
    }

    #[test]
    fn nobody_is_waited_for_longer_than_the_bound() {
        let mut headers = HeaderMap::new();
        assert_eq!(patience(&headers), LONGEST);
        for (told, waited) in [
            ("1H", LONGEST),
            ("x", LONGEST),
            ("50m", Duration::from_millis(50)),
        ] {
            headers.insert("grpc-timeout", told.parse().expect("a value"));
            assert_eq!(patience(&headers), waited);
        }
    }
}
