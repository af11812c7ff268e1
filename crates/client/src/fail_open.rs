//! A verdict for every call, whatever the limiter does: only a denial blocks.

use std::sync::{Mutex, PoisonError};

use tokio::time::{Duration, Instant};
use toolgate_limit::{Answer, Check, Decision, Denial, Limit, Limiter, LimiterError, Scope};
use tracing::Span;

use crate::{Cause, Counters};

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
/// On the caller's current span it records `rate_limit.decision` (`allowed`, `denied` or
/// `refused`), `rate_limit.fail_open` (true if the call runs undecided) and, if denied,
/// `rate_limit.rejected_by` (`global` or `per_user`, and what is limited: `per_user_tool`). A span
/// shows them if it was made with those fields, empty.
///
/// The first call that is not decided is logged, and the first that is decided again once a second
/// has passed without another: a limiter that fails now and then does not fill the log.
#[derive(Debug)]
pub struct FailOpen<L> {
    limiter: L,
    on_unavailable: OnUnavailable,
    counters: Counters,
    outage: Mutex<Option<Outage>>,
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
        }
    }

    /// Decides, and pays if allowed. It takes as long as the limiter does, which for a
    /// [`Client`](crate::Client) is at most its timeout.
    pub async fn check(&self, check: Check) -> Verdict {
        self.settle(self.limiter.check(check).await)
    }

    /// Decides, and pays nothing.
    pub async fn peek(&self, check: Check) -> Verdict {
        self.settle(self.limiter.peek(check).await)
    }

    /// What was decided so far, and what was not.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The limiter itself.
    pub const fn limiter(&self) -> &L {
        &self.limiter
    }

    fn settle(&self, result: Result<Answer, LimiterError>) -> Verdict {
        let verdict = match result {
            Ok(answer) => {
                self.log_decided();
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
        record(&Span::current(), &verdict);
        verdict
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

fn record(span: &Span, verdict: &Verdict) {
    let (decision, fail_open) = match verdict {
        Verdict::Allowed { decided } => ("allowed", !decided),
        Verdict::Denied(denial) => {
            span.record("rate_limit.rejected_by", rejected_by(&denial.limit));
            ("denied", false)
        }
        Verdict::Refused => ("refused", false),
    };
    span.record("rate_limit.decision", decision);
    span.record("rate_limit.fail_open", fail_open);
}

/// Which kind of limit refused, without the names of users and resources.
fn rejected_by(limit: &Limit) -> String {
    let scope = match limit.scope() {
        Scope::Global => "global",
        Scope::PerUser => "per_user",
    };
    let kind = limit.operation().map_or("server", |of| of.kind().as_str());
    format!("{scope}_{kind}")
}

#[cfg(test)]
pub(crate) mod tests;
