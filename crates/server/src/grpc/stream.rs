//! `CheckStream`: many checks over one stream.
//!
//! Requests that have arrived together are decided together: one call of the store, one deadline
//! and one wake-up for all of them. Under low load a check comes and goes alone; the more there is
//! to do, the more come together.
//!
//! A task of the stream's own reads and decides. The answers wait apart, so a caller that reads
//! none keeps no check in flight (`share.rs` has what it may leave unread).

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque, future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration,
};

use futures::{
    Stream, StreamExt as _, future,
    stream::{self, FuturesUnordered},
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status};
use toolgate_limit::{Answer, Check, StoreError};
use toolgate_proto::pb::{
    CheckResponse, CheckStreamRequest, CheckStreamResponse, check_request::Operation,
    check_stream_response::Result as Outcome,
};
use toolgate_redis::MAX_CHECKS_OF_BATCH;

use super::{
    Peer, Share, Unread,
    share::Held,
    span::{CheckSpan, Tracing},
    status,
};
use crate::observe::{CheckErrors, ObservedLimiter, Unanswered};

/// The most groups of one stream that are decided at a time. While there are so many, the stream is
/// not read, and HTTP/2 flow control holds the caller back.
const MAX_GROUPS_IN_FLIGHT: usize = 32;

/// Who decides the checks of a stream, and whose they are.
#[derive(Clone)]
pub(super) struct Decider {
    pub(super) limiter: Arc<ObservedLimiter>,
    pub(super) tracing: Arc<Tracing>,
    pub(super) peer: Arc<Peer>,
    /// Counts checks that get an error.
    pub(super) errors: CheckErrors,
}

/// The responses to `requests`, as they are decided. An error in a response is one of its check, and
/// another is one of the limiter, and the last.
pub(super) fn responses(
    decider: Decider,
    requests: impl Stream<Item = CheckStreamRequest> + Send + 'static,
) -> impl Stream<Item = Result<CheckStreamResponse, Status>> {
    // The share of the connection is its bound.
    let (sender, answers) = mpsc::unbounded_channel();
    let deciding = tokio::spawn(decide(decider, requests, sender));
    let answers = UnboundedReceiverStream::new(answers).flat_map(|decided: Decided| {
        let Decided { responses, held } = decided;
        // They count until the last of them is taken.
        let take = move |response| {
            let _ = &held;
            response
        };
        stream::iter(responses.into_iter().map(take))
    });
    or_failure(answers, deciding)
}

/// What `task` has made, and an error at the end if it has panicked.
fn or_failure<T>(
    made: impl Stream<Item = T>,
    task: JoinHandle<()>,
) -> impl Stream<Item = Result<T, Status>> {
    let failure = stream::once(task).filter_map(|ended| {
        let failure = ended.err().map(|error| {
            tracing::error!(%error, "a stream of checks has failed");
            Err(status::failed())
        });
        future::ready(failure)
    });
    made.map(Ok).chain(failure)
}

/// Answers that nobody has taken yet.
struct Decided {
    responses: Vec<CheckStreamResponse>,
    held: (Held, Unread),
}

/// Decides `requests` until they end, or nobody wants the answers: then checks that are on their way are
/// given up.
async fn decide(
    decider: Decider,
    requests: impl Stream<Item = CheckStreamRequest>,
    answers: mpsc::UnboundedSender<Decided>,
) {
    let share = Arc::clone(&decider.peer.share);
    let mut requests = pin!(requests.ready_chunks(MAX_CHECKS_OF_BATCH));
    let (mut waiting, mut deciding) = (VecDeque::new(), FuturesUnordered::new());
    let mut is_open = true;
    loop {
        while deciding.len() < MAX_GROUPS_IN_FLIGHT
            && let Some(group) = waiting.pop_front()
        {
            let group: Group = group;
            deciding.push(group.decide(&decider));
        }
        if !is_open && deciding.is_empty() {
            return;
        }
        tokio::select! {
            biased;
            Some((held, responses)) = deciding.next() => {
                // If nobody wants them, they are gone.
                let held = (held, share.unread());
                let _ = answers.send(Decided { responses, held });
            }
            arrived = arrived(&share, requests.as_mut()),
                if is_open && deciding.len() < MAX_GROUPS_IN_FLIGHT => match arrived {
                    Some(arrived) => waiting.extend(decider.groups(arrived)),
                    None => is_open = false,
                },
            () = answers.closed() => return,
        }
    }
}

/// The requests that have arrived, as soon as `share` has room for some. Nothing is lost if this is
/// given up.
async fn arrived<S: Stream + Unpin>(share: &Share, mut requests: S) -> Option<S::Item> {
    loop {
        share.room().await;
        // Another stream may have filled it meanwhile.
        let next = poll_fn(|cx| {
            if share.is_full() {
                return Poll::Ready(None);
            }
            requests.poll_next_unpin(cx).map(Some)
        });
        if let Some(arrived) = next.await {
            return arrived;
        }
    }
}

/// Checks that are decided together, and the ids of their requests.
struct Group {
    terms: Terms,
    ids: Vec<u64>,
    checks: Vec<Check>,
    /// To requests among them that are no checks of this caller.
    refusals: Vec<CheckStreamResponse>,
    owed: Unanswered,
    held: Held,
}

/// What the requests of a group have in common.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Terms {
    /// How long the caller waits.
    patience: Option<Duration>,
    omit_buckets: bool,
}

impl Decider {
    /// `requests` in their order, in as few groups as their terms allow: one, if one client has sent
    /// them.
    fn groups(&self, requests: Vec<CheckStreamRequest>) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::with_capacity(1);
        let mut room = requests.len();
        for request in requests {
            let (id, bytes) = (request.id, text_of(&request));
            let read = read(request, &self.peer);
            let terms = read.as_ref().ok().map(|(terms, _)| *terms);
            let group = group_of(&mut groups, terms, |terms| self.group(terms, room));
            group.held.one_more(bytes);
            match read {
                Ok((_, check)) => {
                    group.ids.push(id);
                    group.checks.push(check);
                    group.owed.one_more();
                }
                Err(refused) => {
                    self.errors.count(refused.code());
                    group.refusals.push(response(id, Err(refused)));
                }
            }
            room -= 1;
        }
        groups
    }

    fn group(&self, terms: Terms, room: usize) -> Group {
        Group {
            terms,
            ids: Vec::with_capacity(room),
            checks: Vec::with_capacity(room),
            refusals: Vec::new(),
            owed: self.errors.unanswered(0),
            held: self.peer.share.hold(),
        }
    }
}

/// The group of a request with these terms: the last one, if they are its own. What that one had room for
/// beyond its requests is given back when there is another.
fn group_of(
    groups: &mut Vec<Group>,
    terms: Option<Terms>,
    another: impl FnOnce(Terms) -> Group,
) -> &mut Group {
    let fits = terms.is_none_or(|terms| groups.last().is_some_and(|last| last.terms == terms));
    if groups.is_empty() || !fits {
        if let Some(last) = groups.last_mut() {
            last.ids.shrink_to_fit();
            last.checks.shrink_to_fit();
        }
        groups.push(another(terms.unwrap_or_default()));
    }
    let last = groups.len() - 1;
    &mut groups[last]
}

/// About what `request` takes beside its fixed size, in bytes.
fn text_of(request: &CheckStreamRequest) -> usize {
    let of_trace = request.traceparent.len() + request.tracestate.len();
    let Some(check) = &request.check else {
        return of_trace;
    };
    let operation = match &check.operation {
        Some(Operation::Tool(name) | Operation::Prompt(name) | Operation::Resource(name)) => {
            name.len()
        }
        None => 0,
    };
    let identity = check.identity.as_ref().map_or(0, |identity| {
        let groups = identity.groups.iter();
        let groups: usize = groups.map(|group| size_of::<String>() + group.len()).sum();
        identity.subject.len() + identity.issuer.len() + groups
    });
    of_trace + check.server.len() + operation + identity
}

/// The check of `request`, if it is one that `peer` may ask for.
fn read(request: CheckStreamRequest, peer: &Peer) -> Result<(Terms, Check), Status> {
    let omit_buckets = request.omit_buckets_if_allowed;
    let (check, patience) = request.into_check().map_err(status::invalid)?;
    peer.caller.may_check(&check.server)?;
    let terms = Terms {
        patience,
        omit_buckets,
    };
    Ok((terms, check))
}

impl Group {
    async fn decide(self, decider: &Decider) -> (Held, Vec<CheckStreamResponse>) {
        let Decider {
            limiter,
            tracing,
            peer,
            ..
        } = decider;
        let Self {
            terms,
            mut ids,
            mut checks,
            refusals: mut responses,
            mut owed,
            held,
        } = self;
        let mut spans = tracing.of_stream(&mut checks);
        let each = |ids: Vec<u64>, status: Status| {
            ids.into_iter()
                .map(move |id| response(id, Err(status.clone())))
        };
        let (_admitted, count, full) = peer.allowance.checks(checks.len());
        if let Some(full) = full {
            let refused = status::too_many("checks", full);
            let first_refused = spans.partition_point(|(place, _)| *place < count);
            fail(spans.split_off(first_refused), &refused);
            checks.truncate(count);
            let ids = ids.split_off(count);
            for _ in &ids {
                owed.one_answered(Some(refused.code()));
            }
            responses.extend(each(ids, refused));
        }
        if checks.is_empty() {
            return (held, responses);
        }
        let outcomes = limiter.check_all(&checks, terms.omit_buckets);
        let answers = match terms.patience {
            None => Ok(outcomes.await),
            Some(patience) => timeout(patience, outcomes).await,
        };
        if let Ok(answers) = answers {
            end(spans, &answers);
            responses.extend(ids.into_iter().zip(answers).map(|(id, answer)| {
                let outcome = outcome(answer);
                owed.one_answered(outcome.as_ref().err().map(Status::code));
                response(id, outcome)
            }));
        } else {
            fail(spans, &status::too_late());
            owed.failed(Code::DeadlineExceeded);
            responses.extend(each(ids, status::too_late()));
        }
        (held, responses)
    }
}

fn end(spans: Vec<(usize, CheckSpan)>, answers: &[Result<Answer, StoreError>]) {
    for (place, span) in spans {
        if let Some(answer) = answers.get(place) {
            span.decided(answer);
        }
    }
}

fn fail(spans: Vec<(usize, CheckSpan)>, status: &Status) {
    for (_, span) in spans {
        span.failed(status);
    }
}

fn outcome(answer: Result<Answer, StoreError>) -> Result<CheckResponse, Status> {
    let answer = answer.map_err(|error| status::undecided(&error.into()))?;
    Ok(answer.into())
}

fn response(id: u64, outcome: Result<CheckResponse, Status>) -> CheckStreamResponse {
    let result = match outcome {
        Ok(response) => Outcome::Response(response),
        Err(status) => Outcome::Error(status::to_message(&status)),
    };
    CheckStreamResponse {
        id,
        result: Some(result),
        leaving: false,
    }
}
