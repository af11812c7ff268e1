//! A limiter on a Redis behind a proxy, and a caller who takes the time.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};
use toolgate_proto::pb::{
    CheckRequest, CheckResponse, CheckStreamRequest, CheckStreamResponse,
    check_stream_response::Result as Outcome,
};
use toolgate_tests::{FaultProxy, Limiter, PATIENCE, RedisServer, of_user};

/// Nobody in these tests comes near it.
pub(crate) const GENEROUS: &str = "perUser: {maxTokens: 1000000, refillPeriod: 24h}";

/// One limiter, and what lies beneath.
pub(crate) struct Stage {
    pub(crate) redis: RedisServer,
    pub(crate) proxy: FaultProxy,
    pub(crate) limiter: Limiter,
    /// A connection to Redis from before all faults.
    pub(crate) operator: redis::aio::MultiplexedConnection,
}

impl Stage {
    /// With a Redis that takes `redis` arguments, and a limiter that takes `limiter` arguments.
    pub(crate) async fn start(redis: &[&str], limiter: &[&str]) -> Self {
        let redis = RedisServer::start_with(redis, None).await.expect("Redis");
        let proxy = FaultProxy::start(redis.socket()).await.expect("a proxy");
        let store = format!("redis://{}", proxy.address());
        let mut arguments = vec!["--store", &store];
        arguments.extend(limiter);
        let limiter = Limiter::of_spec(GENEROUS, arguments).await;
        Self {
            operator: redis.connection().await.expect("a connection"),
            redis,
            proxy,
            limiter: limiter.expect("a limiter"),
        }
    }
}

/// What came of a check: an answer, or a status by its code and the reason in its details.
pub(crate) type Answered = Result<CheckResponse, (Code, String)>;

/// One stream of checks, one at a time.
pub(crate) struct Caller {
    requests: mpsc::Sender<CheckStreamRequest>,
    replies: Streaming<CheckStreamResponse>,
    next: u64,
}

impl Caller {
    pub(crate) async fn of(limiter: &Limiter) -> Self {
        let mut client = limiter.client().await.expect("a connection");
        let (requests, checks) = mpsc::channel(1_024);
        let replies = client.check_stream(ReceiverStream::new(checks)).await;
        Self {
            requests,
            replies: replies.expect("a stream").into_inner(),
            next: 0,
        }
    }

    /// Sends a check without waiting for its answer.
    pub(crate) async fn send(&mut self, check: CheckRequest) {
        let request = CheckStreamRequest {
            id: self.next,
            check: Some(check),
            timeout: None,
            ..CheckStreamRequest::default()
        };
        self.next += 1;
        self.requests
            .send(request)
            .await
            .expect("the stream goes on");
    }

    /// The next answer, whosever it is.
    pub(crate) async fn answer(&mut self) -> Answered {
        let reply = timeout(PATIENCE, self.replies.message()).await;
        let reply = reply.expect("an answer in time").expect("a stream");
        match reply.expect("the stream goes on").result.expect("a result") {
            Outcome::Response(answer) => Ok(answer),
            Outcome::Error(status) => {
                let code = Code::from(status.code);
                let details = status.details.iter().map(|detail| &detail.value[..]);
                let text = String::from_utf8_lossy(&details.collect::<Vec<_>>().concat()).into();
                Err((code, text))
            }
        }
    }

    /// One check of alice, and the time that it took.
    pub(crate) async fn ask(&mut self) -> (Answered, Duration) {
        let asked = Instant::now();
        self.send(of_user("alice")).await;
        (self.answer().await, asked.elapsed())
    }
}

/// Status and body of a GET, by the plainest client there is.
pub(crate) async fn get(limiter: &Limiter, path: &str) -> (u16, String) {
    let connection = TcpStream::connect(limiter.http_address()).await;
    let mut connection = connection.expect("HTTP is served");
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let sent = connection.write_all(request.as_bytes()).await;
    sent.expect("sent");
    let mut reply = String::new();
    let read = connection.read_to_string(&mut reply).await;
    read.expect("a reply");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status line");
    (status.parse().expect("a number"), body.to_owned())
}

/// The value below which so many of a hundred lie.
pub(crate) fn percentile(times: &mut [Duration], of_hundred: usize) -> Duration {
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    times
        .get(last * of_hundred / 100)
        .copied()
        .unwrap_or_default()
}
