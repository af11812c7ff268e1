//! A verdict for every call, whatever the limiter does: only a denial blocks.

use std::sync::{Mutex, PoisonError};

use tokio::time::{Duration, Instant};
use toolgate_limit::{Answer, Check, Decision, Denial, Limiter, LimiterError, ServerId};
use toolgate_trace::words;
use tracing::Span;

use crate::{Cause, Counters, unnamed::Unnamed};

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It runs.
    Allowed {
        /// Whether a limiter has said so; if not, none could be asked.
        decided: bool,
    },
    /// It does not run: a limit is reached.
    Denied(Denial),
    /// It does not run: no limiter decided, and [`OnUnavailable::Deny`] is set.
    Refused,
}

/// What becomes of a call that no limiter decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnavailable {
    /// It runs: an outage of the limiter is no outage of the tools.
    #[default]
    Allow,
    /// It is refused: no call runs unlimited.
    Deny,
}

/// Turns a limiter that may fail into one that always answers.
///
/// On the caller's current span it records `rate_limit.decision` (`allowed`, `denied`, `fail_open` if
/// the call runs undecided, `refused` if it does not, `unlimited` if nothing limits it; of a limiter in
/// this process also `shadow_denied`) and `rate_limit.fail_open`. If there was a decision, `rate_limit.degraded`; if
/// it was a denial, `rate_limit.rejected_by` (`global` or `per_user`, and what is limited:
/// `per_user_tool`) and `rate_limit.retry_after_ms`; if there was none, `rate_limit.cause`, a
/// [`Cause`]. A [`Client`](crate::Client) adds `rate_limit.deny_cache` where it has asked nobody. A
/// span shows them if it was made with those fields, empty.
///
/// The first call that is not decided is logged, and the first that is decided again once a second
/// has passed without another: a limiter that fails now and then does not fill the log.
#[derive(Debug)]
pub struct FailOpen<L> {
    limiter: L,
    on_unavailable: OnUnavailable,
    counters: Counters,
    outage: Mutex<Option<Outage>>,
    unnamed: Unnamed,
}

/// A time in which calls were not decided.
#[derive(Debug)]
struct Outage {
    latest: Instant,
    undecided: u64,
}

/// Without a failure for so long, an outage is over.
const CALM: Duration = Duration::from_secs(1);

impl<L: Limiter> FailOpen<L> {
    /// Asks `limiter`, and does as `on_unavailable` says where it makes no decision.
    pub fn new(limiter: L, on_unavailable: OnUnavailable) -> Self {
        Self {
            limiter,
            on_unavailable,
            counters: Counters::default(),
            outage: Mutex::new(None),
            unnamed: Unnamed::default(),
        }
    }

    /// Decides, and pays if allowed. It takes as long as the limiter does, which for a
    /// [`Client`](crate::Client) is at most its timeout.
    pub async fn check(&self, check: Check) -> Verdict {
        let server = check.server.clone();
        self.settle(&server, self.limiter.check(check).await)
    }

    /// Decides, and pays nothing.
    pub async fn peek(&self, check: Check) -> Verdict {
        let server = check.server.clone();
        self.settle(&server, self.limiter.peek(check).await)
    }

    /// What was decided so far, and what was not.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Checks and peeks of servers that no policy names, which are not limited. Each such server is
    /// a warning in the log, once.
    pub fn unnamed(&self) -> u64 {
        self.unnamed.checks.get()
    }

    /// The limiter itself.
    pub const fn limiter(&self) -> &L {
        &self.limiter
    }

    fn settle(&self, server: &ServerId, result: Result<Answer, LimiterError>) -> Verdict {
        let verdict = match result {
            Ok(answer) => {
                self.log_decided();
                self.unnamed.see(server, &answer);
                record_answer(&Span::current(), &answer);
                match answer.decision {
                    Decision::Allowed => Verdict::Allowed { decided: true },
                    Decision::Denied(denial) => Verdict::Denied(denial),
                }
            }
            Err(error) => {
                let cause = Cause::from(&error);
                self.counters.count_undecided(cause);
                // A check that no limiter would take says nothing of how the limiter is.
                if cause != Cause::Rejected {
                    self.log_undecided(&error);
                }
                self.record_undecided(&Span::current(), cause);
                match self.on_unavailable {
                    OnUnavailable::Allow => Verdict::Allowed { decided: false },
                    OnUnavailable::Deny => Verdict::Refused,
                }
            }
        };
        match verdict {
            Verdict::Allowed { decided: true } => self.counters.allowed.increment(),
            Verdict::Denied(_) => self.counters.denied.increment(),
            Verdict::Allowed { decided: false } | Verdict::Refused => {}
        }
        verdict
    }

    fn record_undecided(&self, span: &Span, cause: Cause) {
        let runs = self.on_unavailable == OnUnavailable::Allow;
        let decision = if runs { "fail_open" } else { "refused" };
        span.record(words::DECISION, decision);
        span.record(words::FAIL_OPEN, runs);
        span.record(words::CAUSE, cause.as_str());
    }

    fn log_undecided(&self, error: &LimiterError) {
        let (now, mut outage) = (Instant::now(), self.outage());
        if let Some(outage) = &mut *outage {
            outage.latest = now;
            outage.undecided += 1;
            return;
        }
        *outage = Some(Outage {
            latest: now,
            undecided: 1,
        });
        drop(outage);
        let calls = match self.on_unavailable {
            OnUnavailable::Allow => "allowed",
            OnUnavailable::Deny => "refused",
        };
        let cause = Cause::from(error).as_str();
        tracing::warn!(cause, %error, "no decision from the limiter: such calls are {calls}");
    }

    fn log_decided(&self) {
        let over = self
            .outage()
            .take_if(|outage| outage.latest.elapsed() >= CALM);
        if let Some(outage) = over {
            let undecided = outage.undecided;
            tracing::info!(undecided, "the limiter decides again");
        }
    }

    /// It is changed in one step, so a poisoned lock is as good as any.
    fn outage(&self) -> std::sync::MutexGuard<'_, Option<Outage>> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What `span` is told of a decision.
fn record_answer(span: &Span, answer: &Answer) {
    span.record(words::DECISION, words::decision(answer));
    span.record(words::FAIL_OPEN, false);
    span.record(words::DEGRADED, answer.degraded);
    let Some(denial) = answer.denial() else {
        return;
    };
    span.record(words::REJECTED_BY, words::rejected_by(&denial.limit));
    if let Some(wait) = denial.retry_after {
        span.record(words::RETRY_AFTER_MS, words::retry_after_ms(wait));
    }
}

#[cfg(test)]
pub(crate) mod tests;
