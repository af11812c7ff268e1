//! One connection's checks: when they go, about whom, and which are on their way.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use futures::Stream;

use super::{
    keys::{Key, Keys},
    pace::{Pace, Span, Turn},
    tick::Tick,
    trace::{Trace, Traces},
};

/// A check that goes out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    /// Its place among the checks on their way, from 0; free again after its answer.
    pub(crate) slot: u32,
    pub(crate) key: Key,
    pub(crate) trace: Option<Trace>,
    /// When it was meant to go, in nanoseconds from the start. Latency counts from here.
    pub(crate) intended: u64,
    /// When it did go.
    pub(crate) sent: u64,
}

/// Checks that are due closer together than this go together: waking up for each would cost more
/// than sending it. Below 20,000/s on a connection it delays none.
const SHORTEST_TICK: Duration = Duration::from_micros(50);

/// The time of a run, in nanoseconds from its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[allow(clippy::disallowed_methods, reason = "real time is what is measured")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn nanos(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The instant that many nanoseconds from the start.
    pub(crate) fn at(self, nanos: u64) -> Instant {
        self.0 + Duration::from_nanos(nanos)
    }
}

/// The checks of one connection. Who sends and who reads answers share it; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Lane(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    stopwatch: Stopwatch,
    span: Span,
    pace: Pace,
    keys: Keys,
    traces: Option<Traces>,
    tick: Tick,
    slots: Vec<Option<Flight>>,
    free: Vec<u32>,
    /// Who sends, waiting for a free slot.
    sender: Option<Waker>,
    /// Counts the streams of checks that were begun; only the newest draws any.
    generation: u64,
    over: bool,
    /// Why the timer has ended the run.
    failure: Option<io::Error>,
}

impl Lane {
    /// Must run on a tokio runtime.
    pub(crate) fn new(
        stopwatch: Stopwatch,
        span: Span,
        pace: Pace,
        keys: Keys,
        traces: Option<Traces>,
        in_flight: u32,
    ) -> io::Result<Self> {
        Ok(Self(Arc::new(Mutex::new(Inner {
            stopwatch,
            span,
            pace,
            keys,
            traces,
            tick: Tick::new()?,
            slots: vec![None; in_flight as usize],
            free: (0..in_flight).rev().collect(),
            sender: None,
            generation: 0,
            over: false,
            failure: None,
        }))))
    }

    /// The checks to send, as they become due and slots free. Ends any such stream from before.
    pub(crate) fn departures(&self) -> Departures {
        let mut inner = self.lock();
        inner.generation += 1;
        Departures {
            generation: inner.generation,
            lane: self.clone(),
        }
    }

    /// The check in that slot has its answer. None if there was no such check.
    pub(crate) fn land(&self, slot: u64) -> Option<Flight> {
        let mut inner = self.lock();
        let slot = u32::try_from(slot).ok()?;
        let flight = inner.slots.get_mut(slot as usize)?.take()?;
        inner.free.push(slot);
        if let Some(sender) = inner.sender.take() {
            sender.wake();
        }
        Some(flight)
    }

    /// All that are on their way; their slots are free.
    pub(crate) fn land_all(&self) -> Vec<Flight> {
        let mut inner = self.lock();
        let flights: Vec<_> = inner.slots.iter_mut().filter_map(Option::take).collect();
        inner.free.extend(flights.iter().map(|flight| flight.slot));
        flights
    }

    /// Whether no check will go any more.
    pub(crate) fn is_over(&self) -> bool {
        let mut inner = self.lock();
        let now = inner.stopwatch.nanos();
        let span = inner.span;
        inner.over |= now >= span.end && inner.pace.unsent(span) == 0;
        inner.over
    }

    /// Why the timer has ended the run, if it has.
    pub(crate) fn failure(&self) -> Option<io::Error> {
        self.lock().failure.take()
    }

    /// Checks that were meant to go and never have.
    pub(crate) fn unsent(&self) -> u64 {
        let inner = self.lock();
        inner.pace.unsent(inner.span)
    }

    /// No update is left half done by a panic.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Lane::departures`].
#[derive(Debug)]
pub(crate) struct Departures {
    lane: Lane,
    generation: u64,
}

impl Stream for Departures {
    type Item = Flight;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Flight>> {
        let mut inner = self.lane.lock();
        if inner.generation != self.generation {
            return Poll::Ready(None);
        }
        inner.poll_next(context)
    }
}

impl Inner {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Flight>> {
        loop {
            let now = self.stopwatch.nanos();
            let Some(&slot) = self.free.last() else {
                self.sender = Some(context.waker().clone());
                return Poll::Pending;
            };
            match self.pace.turn(now, self.span) {
                Turn::Send { intended } => {
                    self.free.pop();
                    let key = self.keys.draw();
                    let flight = Flight {
                        slot,
                        key,
                        trace: self.traces.as_mut().map(Traces::draw),
                        intended,
                        sent: now,
                    };
                    self.slots[slot as usize] = Some(flight);
                    return Poll::Ready(Some(flight));
                }
                Turn::Wait { until } => {
                    let wait = Duration::from_nanos(until - now).max(SHORTEST_TICK);
                    if let Err(error) = ready!(self.tick.poll(wait, context)) {
                        self.failure = Some(error);
                        self.over = true;
                        return Poll::Ready(None);
                    }
                }
                Turn::Over => {
                    self.over = true;
                    return Poll::Ready(None);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use futures::{FutureExt as _, StreamExt as _};

    use super::*;
    use crate::bench::{keys::Spread, pace::Schedule};

    const HOUR: u64 = 3_600_000_000_000;

    fn lane(pace: Pace, in_flight: u32, end: u64) -> Lane {
        let span = Span { warm_up: 0, end };
        let keys = Keys::new(Spread::Uniform, 10, 10, 1);
        Lane::new(Stopwatch::start(), span, pace, keys, None, in_flight).expect("a timer")
    }

    #[tokio::test]
    async fn as_many_go_as_there_are_slots_and_each_answer_lets_one_go() {
        let lane = lane(Pace::Full, 2, HOUR);
        let mut departures = lane.departures();
        let first = departures.next().await.expect("a check");
        let second = departures.next().await.expect("a check");
        assert_ne!(first.slot, second.slot);
        assert!(departures.next().now_or_never().is_none());

        let waiting = tokio::spawn(async move { departures.next().await });
        tokio::task::yield_now().await;
        let landed = lane.land(second.slot.into()).expect("it was on its way");
        assert_eq!(landed.key, second.key);
        let third = waiting.await.expect("it is woken").expect("a check");
        assert_eq!(third.slot, second.slot);
    }

    #[tokio::test]
    async fn an_answer_to_nothing_lands_nothing() {
        let lane = lane(Pace::Full, 1, HOUR);
        let flight = lane.departures().next().await.expect("a check");
        assert!(lane.land(1).is_none());
        assert!(lane.land(u64::MAX).is_none());
        assert!(lane.land(flight.slot.into()).is_some());
        assert!(lane.land(flight.slot.into()).is_none());
    }

    #[tokio::test]
    async fn a_new_stream_ends_the_one_before() {
        let lane = lane(Pace::Full, 2, HOUR);
        let mut before = lane.departures();
        assert!(before.next().await.is_some());
        let mut now = lane.departures();
        assert!(before.next().await.is_none());
        assert!(now.next().await.is_some());
        assert_eq!(lane.land_all().len(), 2);
    }

    #[tokio::test]
    async fn at_a_rate_checks_keep_their_times_and_end() {
        // All due by the time they are drawn, but for the wait of the last.
        let schedule = Schedule {
            rate: NonZeroU64::new(1_000).expect("not zero"),
            connection: 0,
            connections: 1,
            sent: 0,
        };
        let lane = lane(Pace::Fixed(schedule), 100, 20_000_000);
        let flights: Vec<_> = lane.departures().collect().await;
        assert_eq!(flights.len(), 20);
        for (flight, number) in flights.iter().zip(0..) {
            assert_eq!(flight.intended, number * 1_000_000);
            assert!(flight.sent >= flight.intended, "none goes early");
        }
        assert!(lane.is_over());
        assert_eq!(lane.unsent(), 0);
    }
}
