//! How a stream ends without losing a check.
//!
//! A stream that just ended would lose the checks that are on the wire. So before a limiter ends
//! one, it says so, in a message that answers no check, and goes on: a caller that understands opens
//! another stream, sends nothing more on this one, and half-closes it. What was sent is answered.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{Stream, StreamExt as _};
use tokio_util::sync::WaitForCancellationFutureOwned;
use toolgate_proto::pb::CheckStreamResponse;

use super::Peer;

/// `answers`, with the notice among them as soon as their caller should leave. Ends with `answers`.
pub(crate) fn announce<S>(answers: S, peer: &Arc<Peer>) -> Announced<S> {
    Announced {
        answers,
        notice: Some(Box::pin(peer.left())),
        peer: Arc::clone(peer),
    }
}

/// See [`announce`].
#[derive(Debug)]
pub(crate) struct Announced<S> {
    answers: S,
    /// Wakes the stream for the notice. None once it is out.
    notice: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    peer: Arc<Peer>,
}

impl<S, E> Stream for Announced<S>
where
    S: Stream<Item = Result<CheckStreamResponse, E>> + Unpin,
{
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        // First of all, or a stream that always has an answer ready would never say it.
        if self.peer.is_leaving() && self.notice.take().is_some() {
            return Poll::Ready(Some(Ok(notice())));
        }
        let next = self.answers.poll_next_unpin(cx);
        if next.is_pending()
            && let Some(wake) = &mut self.notice
            && wake.as_mut().poll(cx).is_ready()
        {
            self.notice = None;
            return Poll::Ready(Some(Ok(notice())));
        }
        next
    }
}

fn notice() -> CheckStreamResponse {
    CheckStreamResponse {
        leaving: true,
        ..CheckStreamResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::{FutureExt as _, channel::mpsc, stream};

    use super::*;
    use crate::{
        grpc::CallerRules,
        shares::{Allowance, Level},
    };

    fn peer() -> Arc<Peer> {
        let rules = CallerRules {
            callers: Vec::new(),
            open_admin: false,
        };
        let level = Level::new(1, 1, 1);
        Peer::new(rules.caller(None), 1, Allowance::new(&level, &level))
    }

    fn answer(id: u64) -> CheckStreamResponse {
        CheckStreamResponse {
            id,
            ..CheckStreamResponse::default()
        }
    }

    #[test]
    fn the_notice_comes_once_and_first_and_answers_go_on() {
        let (peer, (answers, stream)) = (peer(), mpsc::unbounded::<Result<_, Infallible>>());
        let mut stream = announce(stream, &peer);
        let mut next = || stream.next().now_or_never().flatten();
        answers.unbounded_send(Ok(answer(1))).expect("open");
        assert_eq!(next(), Some(Ok(answer(1))));
        assert_eq!(next(), None, "nothing is ready");
        answers.unbounded_send(Ok(answer(2))).expect("open");
        peer.leave();
        assert_eq!(next(), Some(Ok(notice())));
        assert_eq!(next(), Some(Ok(answer(2))));
        assert_eq!(next(), None, "once");
    }

    #[tokio::test]
    async fn a_stream_that_waits_is_woken_for_the_notice() {
        let (peer, (_answers, stream)) = (peer(), mpsc::unbounded::<Result<_, Infallible>>());
        let mut stream = announce(stream, &peer);
        let waits = tokio::spawn(async move { stream.next().await });
        tokio::task::yield_now().await;
        peer.leave();
        assert_eq!(waits.await.expect("no panic"), Some(Ok(notice())));
    }

    #[test]
    fn a_stream_ends_with_its_answers() {
        let peer = peer();
        let stream = announce(stream::iter([Ok::<_, Infallible>(answer(1))]), &peer);
        let all = stream.collect::<Vec<_>>().now_or_never();
        assert_eq!(all.expect("it ends"), [Ok(answer(1))]);
    }
}
