//! Connections that ask as fast as they are answered.

use std::collections::BTreeSet;

use futures::future::join_all;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use toolgate_proto::pb::{
    CheckRequest, CheckStreamRequest, CheckStreamResponse, Decision,
    check_stream_response::Result as Outcome,
};
use toolgate_tests::Limiter;

/// Checks on their way at a time, on each connection.
const IN_FLIGHT: u64 = 16;

/// One connection to a limiter, with a stream, and what is asked over it.
pub(crate) struct Connection {
    pub(crate) check: CheckRequest,
    requests: mpsc::Sender<CheckStreamRequest>,
    replies: Streaming<CheckStreamResponse>,
    /// The id of the next one.
    sent: u64,
    on_their_way: BTreeSet<u64>,
}

impl Connection {
    pub(crate) async fn open(limiter: &Limiter, check: CheckRequest) -> Self {
        let mut client = limiter.client().await.expect("a connection");
        let (requests, sent) = mpsc::channel(64);
        let replies = client.check_stream(ReceiverStream::new(sent)).await;
        Self {
            check,
            requests,
            replies: replies.expect("a stream").into_inner(),
            sent: 0,
            on_their_way: BTreeSet::new(),
        }
    }

    /// Asks as long as `goes_on`, which is told of each answer whether it allows, and says how many
    /// were allowed.
    pub(crate) async fn flood(&mut self, mut goes_on: impl FnMut(bool) -> bool) -> u64 {
        let (mut allowed, mut ask) = (0, true);
        for _ in 0..IN_FLIGHT {
            self.send().await;
        }
        while !self.on_their_way.is_empty() {
            let is_allowed = self.reply().await;
            allowed += u64::from(is_allowed);
            ask = ask && goes_on(is_allowed);
            if ask {
                self.send().await;
            }
        }
        allowed
    }

    async fn send(&mut self) {
        let id = self.sent;
        self.sent += 1;
        self.on_their_way.insert(id);
        let request = CheckStreamRequest {
            id,
            check: Some(self.check.clone()),
            timeout: None,
            omit_buckets_if_allowed: true,
            ..CheckStreamRequest::default()
        };
        self.requests.send(request).await.expect("it is read");
    }

    async fn reply(&mut self) -> bool {
        let reply = self.replies.message().await.expect("the stream goes on");
        let reply = reply.expect("it does not end");
        assert!(self.on_their_way.remove(&reply.id), "one answer each");
        match reply.result.expect("a result") {
            Outcome::Response(response) => {
                assert!(!response.degraded);
                response.decision() == Decision::Allowed
            }
            Outcome::Error(error) => panic!("{error:?}"),
        }
    }
}

/// All connections at once, each until it is denied. On a clock that stands still, that is all that
/// can pass.
pub(crate) async fn until_denied(connections: &mut [Connection]) -> Vec<u64> {
    let floods = connections
        .iter_mut()
        .map(|one| one.flood(|allowed| allowed));
    join_all(floods).await
}
