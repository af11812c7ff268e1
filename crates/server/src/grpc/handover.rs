//! How a stream ends without losing a check.
//!
//! A stream that just ended would lose the checks that are on the wire. So before a limiter ends
//! one, it says so, in a message that answers no check, and goes on: a caller that understands opens
//! another stream, sends nothing more on this one, and half-closes it. What was sent is answered.

use futures::{
    Stream, StreamExt as _, future,
    stream::{self, PollNext},
};
use toolgate_proto::pb::CheckStreamResponse;

use super::Peer;

/// `answers`, with the notice among them as soon as their caller should leave. Ends with `answers`.
pub(crate) fn announce<S, E>(
    answers: S,
    peer: &Peer,
) -> impl Stream<Item = Result<CheckStreamResponse, E>> + Send + use<S, E>
where
    S: Stream<Item = Result<CheckStreamResponse, E>> + Send,
    E: Send,
{
    let notice = stream::once(peer.left()).map(|()| Some(Ok(notice())));
    // None is the end, which must not wait for a notice that nobody needs any more.
    let answers = answers.map(Some).chain(stream::once(future::ready(None)));
    // Answers first: while there are some ready, the notice is not even looked for.
    stream::select_with_strategy(answers, notice, |(): &mut ()| PollNext::Left)
        .take_while(|message| future::ready(message.is_some()))
        .filter_map(future::ready)
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

    use futures::{FutureExt as _, channel::mpsc};

    use super::*;
    use crate::grpc::CallerRules;

    fn peer() -> std::sync::Arc<Peer> {
        let rules = CallerRules {
            callers: Vec::new(),
            open_admin: false,
        };
        Peer::new(rules.caller(None))
    }

    fn answer(id: u64) -> CheckStreamResponse {
        CheckStreamResponse {
            id,
            ..CheckStreamResponse::default()
        }
    }

    #[test]
    fn the_notice_comes_once_after_what_is_ready_and_answers_go_on() {
        let (peer, (answers, stream)) = (peer(), mpsc::unbounded::<Result<_, Infallible>>());
        let mut stream = Box::pin(announce(stream, &peer));
        assert!(stream.next().now_or_never().is_none());
        answers.unbounded_send(Ok(answer(1))).expect("open");
        peer.leave();
        let mut next = || stream.next().now_or_never().flatten();
        assert_eq!(next(), Some(Ok(answer(1))));
        assert_eq!(next(), Some(Ok(notice())));
        assert_eq!(next(), None, "once");
        answers.unbounded_send(Ok(answer(2))).expect("open");
        assert_eq!(next(), Some(Ok(answer(2))));
    }

    #[test]
    fn a_stream_ends_with_its_answers_whether_or_not_there_was_a_notice() {
        for leaves in [false, true] {
            let peer = peer();
            if leaves {
                peer.leave();
            }
            let stream = announce(stream::iter([Ok::<_, Infallible>(answer(1))]), &peer);
            let all = stream.collect::<Vec<_>>().now_or_never();
            assert_eq!(all.expect("it ends"), [Ok(answer(1))]);
        }
    }
}
