//! The limiter that a gateway sees.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tonic::{Request, metadata::MetadataMap};
use toolgate_limit::{Answer, Check, Limiter, LimiterError, TraceContext};
use toolgate_proto::pb::PeekRequest;
use toolgate_trace::words;
use tracing::Span;

use crate::{
    ClientConfig, ConfigError, ConfigFault, ReplicaStatus, Resolve, SystemResolver,
    denials::Denials,
    members::Members,
    outcome,
    replica::Ticket,
    session::{NotSent, Sent},
    span::{CallSpan, Method},
    stall,
};

/// Asks the limiters at an [`Endpoint`](crate::Endpoint). Clones share their connections, which
/// close with the last of them.
///
/// An answer that allows shows no buckets; those that a gateway wants to see are had by a peek.
///
/// A check takes no longer than [`ClientConfig::timeout`], and is sent at most once: an error after
/// that may mean that it was paid and its answer lost. One that touches a bucket of which a denial
/// is remembered is not sent at all, and denied; see [`ClientConfig::remember_denials`].
#[derive(Clone, Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    denials: Arc<Denials>,
    members: Arc<Members>,
    _tasks: Arc<JoinSet<()>>,
}

impl Client {
    /// A client that begins to connect now, and does not wait for it.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn new(config: ClientConfig) -> Result<Self, ConfigError> {
        Self::with_resolver(config, Arc::new(SystemResolver))
    }

    /// As [`Client::new`]; the name of a `dns` endpoint is looked up by `resolver`.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn with_resolver(
        config: ClientConfig,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        let config = Arc::new(config);
        let members = Arc::new(Members::new(Arc::clone(&config)));
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&members).run(resolver));
        Ok(Self {
            denials: Arc::new(Denials::new(config.remember_denials)),
            config,
            members,
            _tasks: Arc::new(tasks),
        })
    }

    /// The replicas that are known now, connected or not.
    pub fn replicas(&self) -> Vec<ReplicaStatus> {
        let replicas = self.members.replicas();
        replicas.iter().map(|replica| replica.status()).collect()
    }

    /// Checks that were denied without asking a limiter, by a denial that is remembered.
    pub fn deny_cache_hits(&self) -> u64 {
        self.denials.hits()
    }

    /// How often `fault` was seen: checks that the limiter refused for it, and attempts to connect.
    pub fn config_faults(&self, fault: ConfigFault) -> u64 {
        self.members.faults.count(fault)
    }

    /// Leave to send a check, after the very first attempt to connect if that is under way.
    async fn ticket(&self, deadline: Instant) -> Result<Ticket, LimiterError> {
        let chosen = self.members.choose();
        let start = &self.members.start;
        if start.is_over() || !matches!(chosen, Err(LimiterError::Unreachable { .. })) {
            return chosen;
        }
        start.over(deadline).await;
        self.members.choose()
    }

    /// Sends `check` to a replica that takes it.
    async fn send(
        &self,
        check: &Check,
        deadline: Instant,
    ) -> Result<(Ticket, Sent, CallSpan), LimiterError> {
        let mut ticket = self.ticket(deadline).await?;
        loop {
            let span = CallSpan::begin(Method::CheckStream, check, ticket.endpoint());
            match ticket.session.send(check.into(), span.trace(), deadline) {
                Ok(sent) => return Ok((ticket, sent, span)),
                // Lost in this moment, and nothing was sent: another one may take it.
                Err(NotSent::Ended) => {
                    span.end(&Err(self.members.unreachable()));
                    ticket = self.members.choose()?;
                }
                Err(NotSent::Full) => {
                    // More than may be in flight has not even left: nobody reads at the other end.
                    ticket.session.condemn();
                    let max = self.config.max_in_flight;
                    span.end(&Err(LimiterError::Overloaded { max }));
                    return Err(LimiterError::Overloaded { max });
                }
            }
        }
    }
}

#[async_trait]
impl Limiter for Client {
    async fn check(&self, check: Check) -> Result<Answer, LimiterError> {
        let (patience, asked) = (self.config.timeout, Instant::now());
        if let Some(denied) = self.denials.answer(&check, asked) {
            Span::current().record(words::DENY_CACHE, true);
            return Ok(denied);
        }
        let deadline = asked + patience;
        let (ticket, sent, span) = self.send(&check, deadline).await?;
        let reply = timeout_at(deadline, sent.reply()).await;
        let own_stall = reply.is_err() && stall::is_own(deadline);
        let result = match reply {
            Ok(Ok(outcome)) => outcome::of_stream(outcome, &check, patience),
            Ok(Err(lost)) => Err(lost),
            Err(_) => Err(LimiterError::Timeout { after: patience }),
        };
        span.end(&result);
        if !own_stall {
            ticket.report(&result);
        }
        match &result {
            Ok(answer) => self.denials.remember(&check, answer, asked),
            Err(error) => self.members.faults.see_check(&check.server, error),
        }
        result
    }

    /// A call of its own: what costs nothing is rare, and need not be fast.
    async fn peek(&self, check: Check) -> Result<Answer, LimiterError> {
        let patience = self.config.timeout;
        let deadline = Instant::now() + patience;
        let ticket = self.ticket(deadline).await?;
        let span = CallSpan::begin(Method::Peek, &check, ticket.endpoint());
        let mut request = Request::new(PeekRequest {
            check: Some((&check).into()),
        });
        if let Some(trace) = span.trace() {
            add_trace(request.metadata_mut(), &trace);
        }
        let mut client = ticket.session.client();
        let result = match timeout_at(deadline, client.peek(request)).await {
            Ok(reply) => outcome::of_peek(reply, &check, patience),
            Err(_) => Err(LimiterError::Timeout { after: patience }),
        };
        span.end(&result);
        ticket.report(&result);
        if let Err(error) = &result {
            self.members.faults.see_check(&check.server, error);
        }
        result
    }
}

/// Adds `trace` as the headers of W3C Trace Context, which are ASCII.
fn add_trace(metadata: &mut MetadataMap, trace: &TraceContext) {
    if let Ok(traceparent) = trace.to_string().parse() {
        metadata.insert("traceparent", traceparent);
    }
    if let Ok(state) = trace.state.parse()
        && !trace.state.is_empty()
    {
        metadata.insert("tracestate", state);
    }
}
