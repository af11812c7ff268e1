//! A load generator: what `toolgate bench` runs.
//!
//! It shares the machine with what it measures, so it is as small as it can be: each thread is a
//! runtime of its own, each connection one task, and a check on its way is an entry in a table.
//!
//! ```text
//! Pace       when is the next check due, and when was it meant to go?
//! Keys       whom is it about?
//! Lane       a connection's checks on their way, by slot; the slot is the id on the stream
//! wire       from a check to bytes, and from bytes to an answer: `toolgate.v1`
//! Drive      the connection: sends what the lane has, reads answers
//! Policy     the quotas of checks whose answers do not name them
//! Tally      counts, latency from when a check was meant to go, admissions of each bucket
//! Report     what came out
//! ```
//!
//! Closed loop: an answer makes room for the next check, so a limiter that is slow is asked less.
//! Open loop: checks go at fixed times, and a check's latency counts from its time even if it could
//! not go then. So a stall shows in every check that it held up (no coordinated omission).

mod admission;
mod drive;
mod keys;
mod lane;
mod pace;
mod policy;
mod report;
mod tally;
mod tick;
mod trace;
mod wire;

use std::{
    cell::RefCell,
    num::NonZeroU64,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use futures::future::try_join_all;
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike as _,
};
use tokio::{runtime, sync::oneshot};
use toolgate_limit::GoDuration;

use self::{
    admission::Admissions,
    drive::Drive,
    keys::Keys,
    lane::{Lane, Stopwatch},
    pace::{Pace, Schedule, Span},
    policy::Policy,
    tally::Tally,
    trace::Traces,
    wire::{Template, ToolgateCodec},
};
pub(crate) use self::{keys::Spread, report::Report, trace::Share, wire::Mode};
use crate::client::{CallError, Endpoint};

/// What to ask, how often and for how long.
#[derive(Debug)]
pub(crate) struct Load {
    /// Connections go to each in turn; at least one.
    pub(crate) endpoints: Vec<Endpoint>,
    /// As `namespace/name`.
    pub(crate) server: String,
    pub(crate) users: u32,
    pub(crate) user_prefix: String,
    pub(crate) tools: u32,
    pub(crate) tool_prefix: String,
    pub(crate) spread: Spread,
    /// In tokens.
    pub(crate) cost: u32,
    pub(crate) seed: u64,
    pub(crate) mode: Mode,
    /// On streams, of answers that allow.
    pub(crate) omit_buckets: bool,
    /// Of checks that belong to a trace, how many are sampled; none: they belong to none.
    pub(crate) traced: Option<Share>,
    /// At least one.
    pub(crate) connections: u32,
    /// The most checks on their way on each connection; at least one.
    pub(crate) in_flight: u32,
    /// Checks a second of all connections together; none: closed loop.
    pub(crate) rate: Option<NonZeroU64>,
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
    /// For connecting, and for answers after the last check was meant to go.
    pub(crate) timeout: GoDuration,
    /// At least one.
    pub(crate) threads: u32,
}

/// Runs the load to its end.
pub(crate) async fn run(load: Load) -> anyhow::Result<Report> {
    let load = Arc::new(load);
    let (policy, unread) = known_policy(&load).await?;
    let (mut tally, spent) = on_threads(&load, policy.as_ref())?;
    // A limiter that has gone meanwhile has told before what it held checks to.
    if policy.is_some()
        && let Ok(now) = Policy::read(&load).await
    {
        tally.admissions.changed_to(&now);
    }
    Ok(Report::new(&load, &tally, spent, unread))
}

/// The policy, if answers will not name their buckets; or why a limiter does not tell it.
async fn known_policy(load: &Load) -> anyhow::Result<(Option<Arc<Policy>>, Option<CallError>)> {
    if !load.omit_buckets {
        return Ok((None, None));
    }
    match Policy::read(load).await {
        Ok(policy) => Ok((Some(Arc::new(policy)), None)),
        Err(error) if error.is_answer() => Ok((None, Some(error))),
        Err(error) => Err(error.into()),
    }
}

/// What came of the load, and the CPU time of it, on threads of its own. Blocks this one.
fn on_threads(load: &Arc<Load>, policy: Option<&Arc<Policy>>) -> anyhow::Result<(Tally, Duration)> {
    let (ready, connected) = mpsc::channel();
    let threads = (0..load.threads.min(load.connections)).map(|number| {
        let (load, ready, policy) = (Arc::clone(load), ready.clone(), policy.cloned());
        let (go, start) = oneshot::channel();
        let work = move || thread_of(&load, policy, number, &ready, start);
        let thread = thread::Builder::new().name(format!("bench-{number}"));
        Ok((thread.spawn(work)?, go))
    });
    let threads = threads.collect::<anyhow::Result<Vec<_>>>()?;
    drop(ready);
    for outcome in connected.iter().take(threads.len()) {
        outcome?;
    }

    let stopwatch = Stopwatch::start();
    let mut working = Vec::new();
    for (thread, go) in threads {
        // A thread that has ended says why when it is joined.
        let _ = go.send(stopwatch);
        working.push(thread);
    }
    thread::sleep(load.warm_up);
    let spent_before = spent()?;
    let mut tally = load.tally(None)?;
    for thread in working {
        let seen = thread
            .join()
            .map_err(|_| anyhow!("a thread has panicked"))??;
        tally.merge(seen)?;
    }
    Ok((tally, spent()?.saturating_sub(spent_before)))
}

/// The connections of one thread: those whose number leaves the thread's, divided by all threads.
fn thread_of(
    load: &Load,
    policy: Option<Arc<Policy>>,
    number: u32,
    ready: &mpsc::Sender<Result<(), CallError>>,
    start: oneshot::Receiver<Stopwatch>,
) -> anyhow::Result<Tally> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let threads = load.threads.min(load.connections) as usize;
    let mine = (0..load.connections).skip(number as usize).step_by(threads);
    let tally = RefCell::new(load.tally(policy)?);
    let outcome = runtime.block_on(async {
        let connecting = mine.clone().zip(
            load.endpoints
                .iter()
                .cycle()
                .skip(number as usize)
                .step_by(threads),
        );
        let mut channels = Vec::new();
        for (_, endpoint) in connecting {
            match endpoint.connect(load.timeout).await {
                Ok(channel) => channels.push(channel),
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return Ok(());
                }
            }
        }
        let _ = ready.send(Ok(()));
        // Whoever would have said go has met an error elsewhere.
        let Ok(stopwatch) = start.await else {
            return Ok(());
        };
        let drives = mine.zip(channels).map(|(connection, channel)| {
            Ok(Drive {
                channel,
                lane: load.lane(connection, stopwatch)?,
                codec: load.codec(),
                in_flight: load.in_flight,
                stopwatch,
                tally: &tally,
            })
        });
        let drives = drives.collect::<std::io::Result<Vec<_>>>()?;
        let deadline = load.deadline(stopwatch);
        try_join_all(drives.iter().map(|drive| drive.run(deadline))).await?;
        std::io::Result::Ok(())
    });
    // The system looks up host names on a thread and without a deadline.
    runtime.shutdown_background();
    outcome.context("the timer has failed")?;
    Ok(tally.into_inner())
}

impl Load {
    fn span(&self) -> Span {
        Span {
            warm_up: nanos(self.warm_up),
            end: nanos(self.warm_up + self.duration),
        }
    }

    fn tally(&self, policy: Option<Arc<Policy>>) -> anyhow::Result<Tally> {
        let admissions = Admissions::new(self.users, self.tools).under(policy);
        Tally::new(self.span(), self.cost, admissions)
    }

    fn codec(&self) -> ToolgateCodec {
        ToolgateCodec {
            mode: self.mode,
            template: Arc::new(Template {
                server: self.server.clone(),
                user_prefix: (self.users > 0).then(|| self.user_prefix.clone()),
                tool_prefix: (self.tools > 0).then(|| self.tool_prefix.clone()),
                cost: self.cost,
                omit_buckets: self.omit_buckets,
            }),
        }
    }

    fn lane(&self, connection: u32, stopwatch: Stopwatch) -> std::io::Result<Lane> {
        let pace = self.rate.map_or(Pace::Full, |rate| {
            Pace::Fixed(Schedule {
                rate,
                connection: connection.into(),
                connections: self.connections.into(),
                sent: 0,
            })
        });
        let seed = self.seed.wrapping_add(u64::from(connection) << 32);
        let keys = Keys::new(self.spread, self.users, self.tools, seed);
        let traces = self.traced.map(Traces::new);
        Lane::new(stopwatch, self.span(), pace, keys, traces, self.in_flight)
    }

    fn deadline(&self, stopwatch: Stopwatch) -> tokio::time::Instant {
        let grace = Duration::from_nanos(self.rate.map_or(0, |_| pace::GRACE));
        let wait = nanos((grace + self.timeout.0).min(LONGEST_WAIT));
        stopwatch.at(self.span().end + wait).into()
    }
}

/// Bounds `--timeout`, so that no instant is out of range.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// 2^64 nanoseconds are 584 years.
fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// CPU time of this process so far.
fn spent() -> anyhow::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = (usage.user_time() + usage.system_time()).num_microseconds();
    Ok(Duration::from_micros(micros.unsigned_abs()))
}
