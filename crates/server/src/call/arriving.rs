//! The request of a call, as it arrives.
//!
//! A message that has begun takes memory until it is whole, so it has a deadline. A stream between
//! two messages may be quiet for as long as it likes. Time in which nobody reads the stream is our own, and
//! does not count: HTTP/2 holds the caller back then, so that it cannot send the rest.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Body, Frame, SizeHint};
use hyper::body::Bytes;
use tokio::time::{Instant, Sleep, sleep};
use tonic::Status;

/// The flag and the length before each message.
const HEAD: usize = 5;

/// A deadline that is noticed so late was not waited for.
const LATE: Duration = Duration::from_millis(250);

/// A body whose messages must be whole in time.
#[derive(Debug)]
pub(super) struct Arriving<B> {
    body: B,
    place: Place,
    patience: Duration,
    /// When the message that has begun must be whole.
    deadline: Option<Pin<Box<Sleep>>>,
    /// When the part before was given on, until the next is asked for.
    given: Option<Instant>,
}

/// Where in its messages a body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    /// Bytes of the head that are there, and the last four of them as a number.
    head: usize,
    length: u32,
    /// Bytes of the message that are to come. Zero unless the head is whole.
    missing: usize,
}

impl<B> Arriving<B> {
    /// `body`, of whose messages each must be whole `patience` after its first byte.
    pub(super) const fn new(body: B, patience: Duration) -> Self {
        Self {
            body,
            place: Place {
                head: 0,
                length: 0,
                missing: 0,
            },
            patience,
            deadline: None,
            given: None,
        }
    }

    fn arrived(&mut self, bytes: &[u8]) {
        if self.place.advance(bytes) {
            self.deadline = None;
        }
        if self.place == Place::default() {
            self.deadline = None;
        } else if self.deadline.is_none() {
            self.deadline = Some(Box::pin(sleep(self.patience)));
        }
        // The clock is not asked for messages that come whole.
        self.given = self.deadline.is_some().then(Instant::now);
    }

    /// The next part is asked for, after it was not for a while.
    fn asked_again(&mut self) {
        let given = self.given.take();
        let Some(deadline) = &mut self.deadline else {
            return;
        };
        let now = Instant::now();
        let until = deadline.deadline();
        match given {
            Some(given) => deadline.as_mut().reset(until + (now - given)),
            // Whoever waits for it is woken by its end, and asks at once.
            None if now > until + LATE => deadline.as_mut().reset(now + self.patience),
            None => {}
        }
    }
}

impl Place {
    /// Goes on by `bytes`. Whether a message has ended among them.
    fn advance(&mut self, mut bytes: &[u8]) -> bool {
        let mut has_ended = false;
        while let Some((&first, rest)) = bytes.split_first() {
            if self.head < HEAD {
                // The flag comes first and is shifted out.
                self.length = self.length << 8 | u32::from(first);
                self.head += 1;
                bytes = rest;
                if self.head < HEAD {
                    continue;
                }
                self.missing = self.length as usize;
            } else {
                let taken = self.missing.min(bytes.len());
                self.missing -= taken;
                bytes = &bytes[taken..];
            }
            if self.missing == 0 {
                *self = Self::default();
                has_ended = true;
            }
        }
        has_ended
    }
}

impl<B> Body for Arriving<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.asked_again();
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(bytes) = frame.data_ref() {
                    self.arrived(bytes);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let Some(deadline) = &mut self.deadline else {
                    return Poll::Pending;
                };
                deadline.as_mut().poll(cx).map(|()| {
                    let late = Status::deadline_exceeded("a message had begun and did not end");
                    Some(Err(late.into()))
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::{StreamExt as _, channel::mpsc};
    use tokio::time::{Instant, timeout};

    use super::*;

    /// What the other side sends.
    struct Wire(mpsc::UnboundedReceiver<Bytes>);

    impl Body for Wire {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let next = self.0.poll_next_unpin(cx);
            next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
        }
    }

    const PATIENCE: Duration = Duration::from_secs(5);

    async fn next(of: &mut Arriving<Wire>) -> Option<Result<Frame<Bytes>, String>> {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *of).poll_frame(cx)).await;
        frame.map(|frame| frame.map_err(|error| error.to_string()))
    }

    #[test]
    fn messages_end_where_they_say_however_they_are_cut() {
        let messages = [&[0, 0, 0, 0, 2, 7, 7], &[0, 0, 0, 0, 0][..], &[1, 0, 0, 1]].concat();
        for cut in 1..messages.len() {
            let mut place = Place::default();
            let ends = messages.chunks(cut).filter(|part| place.advance(part));
            assert!(ends.count() >= 1);
            let begun = Place {
                head: 4,
                length: 1 << 24 | 1,
                missing: 0,
            };
            assert_eq!(place, begun, "{cut}");
        }
    }

    /// The rest could not be sent while the stream was not read, and its message was ended as late.
    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_reads_is_not_the_callers() {
        for asks_first in [false, true] {
            let (send, wire) = mpsc::unbounded();
            let mut body = Arriving::new(Wire(wire), PATIENCE);
            let half = Bytes::from_static(&[0, 0, 0, 0, 2, 7]);
            send.unbounded_send(half).expect("open");
            assert!(next(&mut body).await.is_some_and(|frame| frame.is_ok()));
            if asks_first {
                // It waits for the rest, and is given up for what is to be done first.
                let waits = timeout(PATIENCE / 2, next(&mut body)).await;
                waits.expect_err("the rest is to come");
            }
            tokio::time::advance(PATIENCE * 10).await;
            let waits = timeout(PATIENCE / 3, next(&mut body)).await;
            waits.expect_err("the caller has its time yet");
            let began = Instant::now();
            let late = next(&mut body).await.expect("an error");
            assert!(late.is_err_and(|error| error.contains("did not end")));
            assert!(began.elapsed() <= PATIENCE);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_trickles_in_buys_no_time_and_quiet_streams_stay() {
        let (send, wire) = mpsc::unbounded();
        let mut body = Arriving::new(Wire(wire), PATIENCE);
        let quiet = timeout(PATIENCE * 100, next(&mut body)).await;
        quiet.expect_err("no message has begun");
        for _ in 0..3 {
            // One that is whole, and one in two parts, in time.
            for part in [&[0, 0, 0, 0, 1, 7, 0][..], &[0, 0, 0, 1, 7]] {
                send.unbounded_send(Bytes::copy_from_slice(part))
                    .expect("open");
                assert!(next(&mut body).await.is_some_and(|frame| frame.is_ok()));
                tokio::time::advance(PATIENCE * 4 / 5).await;
            }
        }
        timeout(PATIENCE * 100, next(&mut body))
            .await
            .expect_err("quiet");
        let began = Instant::now();
        let mut bytes = [0, 9, 9, 9, 9].into_iter().chain(std::iter::repeat(7));
        let error = loop {
            let byte = bytes.next().into_iter().collect();
            send.unbounded_send(byte).expect("open");
            assert!(next(&mut body).await.is_some_and(|frame| frame.is_ok()));
            match timeout(Duration::from_secs(1), next(&mut body)).await {
                Ok(Some(Err(error))) => break error,
                Ok(other) => panic!("{other:?}"),
                Err(_) => {}
            }
        };
        assert!(error.contains("did not end"), "{error}");
        assert!((PATIENCE..PATIENCE * 2).contains(&began.elapsed()));
    }
}
