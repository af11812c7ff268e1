//! Sends the checks of one connection and reads their answers.

use std::{cell::RefCell, io, pin::pin, time::Duration};

use futures::StreamExt as _;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{
    Code, Request, Status, Streaming, client::Grpc, codegen::http::uri::PathAndQuery,
    transport::Channel,
};

use super::{
    lane::{Departures, Flight, Lane, Stopwatch},
    tally::Tally,
    trace::Trace,
    wire::{Answer, Mode, ToolgateCodec},
};

/// Until a stream that broke is opened anew.
const REOPEN_AFTER: Duration = Duration::from_millis(100);

/// One connection, and the checks that go over it.
#[derive(Debug)]
pub(crate) struct Drive<'a> {
    pub(crate) channel: Channel,
    pub(crate) lane: Lane,
    pub(crate) codec: ToolgateCodec,
    pub(crate) in_flight: u32,
    pub(crate) stopwatch: Stopwatch,
    /// That of all connections on this thread.
    pub(crate) tally: &'a RefCell<Tally>,
}

impl Drive<'_> {
    /// Ends when all checks have their answers, and at `deadline` at the latest.
    pub(crate) async fn run(&self, deadline: Instant) -> io::Result<()> {
        let checks = async {
            match self.codec.mode {
                Mode::Unary => self.unary().await,
                Mode::Stream => self.stream().await,
            }
        };
        // Whether they have or not: what is still on its way is unanswered.
        let _ = timeout_at(deadline, checks).await;
        let mut tally = self.tally.borrow_mut();
        for flight in self.lane.land_all() {
            tally.unanswered(flight);
        }
        tally.unsent += self.lane.unsent();
        self.lane.failure().map_or(Ok(()), Err)
    }

    async fn unary(&self) {
        let calls = self.lane.departures().map(|flight| async move {
            let answer = self.call(flight).await;
            (u64::from(flight.slot), answer)
        });
        let mut answers = pin!(calls.buffer_unordered(self.in_flight as usize));
        while let Some((slot, answer)) = answers.next().await {
            self.answered(match answer {
                Ok(answer) => Answer { slot, ..answer },
                Err(status) => Answer {
                    slot,
                    outcome: Err(status.code()),
                },
            });
        }
    }

    async fn call(&self, flight: Flight) -> Result<Answer, Status> {
        let mut client = self.client().await?;
        let mut request = Request::new(flight);
        let header = flight.trace.map(Trace::header);
        // Hexadecimal digits are ASCII.
        if let Some(Ok(header)) = header.map(|header| (&header[..]).try_into()) {
            request.metadata_mut().insert("traceparent", header);
        }
        let reply = client.unary(request, self.path(), self.codec.clone());
        Ok(reply.await?.into_inner())
    }

    async fn stream(&self) {
        while !self.lane.is_over() {
            let code = match self.open(self.lane.departures()).await {
                Ok(answers) => self.read(answers).await,
                Err(status) => status.code(),
            };
            for flight in self.lane.land_all() {
                self.tally.borrow_mut().failed(flight, code);
            }
            if !self.lane.is_over() {
                sleep(REOPEN_AFTER).await;
            }
        }
    }

    async fn open(&self, checks: Departures) -> Result<Streaming<Answer>, Status> {
        let mut client = self.client().await?;
        let reply = client.streaming(Request::new(checks), self.path(), self.codec.clone());
        Ok(reply.await?.into_inner())
    }

    /// Reads until the stream ends. Says what to count checks as that it leaves without an answer.
    async fn read(&self, mut answers: Streaming<Answer>) -> Code {
        loop {
            match answers.message().await {
                // Nothing more goes out on this stream; it ends when all is answered.
                Ok(Some(notice)) if notice.slot == Answer::NOTICE => drop(self.lane.departures()),
                Ok(Some(answer)) => self.answered(answer),
                // It ended in good order, and yet too early for them.
                Ok(None) => return Code::Aborted,
                Err(status) => return status.code(),
            }
        }
    }

    fn answered(&self, answer: Answer) {
        let now = self.stopwatch.nanos();
        let mut tally = self.tally.borrow_mut();
        let Some(flight) = self.lane.land(answer.slot) else {
            tally.unexpected += 1;
            return;
        };
        match answer.outcome {
            Ok(verdict) => tally.decided(flight, &verdict, now),
            Err(code) => tally.failed(flight, code),
        }
    }

    async fn client(&self) -> Result<Grpc<Channel>, Status> {
        let mut client = Grpc::new(self.channel.clone());
        let ready = client.ready().await;
        ready.map_err(|error| Status::from_error(error.into()))?;
        Ok(client)
    }

    fn path(&self) -> PathAndQuery {
        PathAndQuery::from_static(self.codec.mode.path())
    }
}
