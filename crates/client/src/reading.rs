//! The decision in a reply that cannot be read whole.
//!
//! A limiter may be newer than its client, and say a limit in words that this version does not know:
//! another scope, another kind of operation, a quota in another form. That is about the reasons of a
//! decision. The decision itself is in a word of its own, and counts: an explicit denial blocks
//! whatever is wrong with the rest, and an allowed call was decided. Only a reply without a
//! decision is malformed.

use std::{sync::Arc, time::Duration};

use toolgate_limit::{Answer, Check, Decision, Denial, Limit, Quota, Scope};
use toolgate_proto::{InvalidField, pb};

/// The wait that a denial is taken to say if it says none that can be read: never would be wrong.
const WAIT: Duration = Duration::from_secs(1);

/// The answer to `check`. Where `reply` cannot be read whole the answer has no statuses, and a
/// denial's limit is what could be read of it.
pub(crate) fn answer(reply: pb::CheckResponse, check: &Check) -> Result<Answer, InvalidField> {
    let (said, degraded, unlimited) = (reply.decision(), reply.degraded, reply.unlimited);
    // Whatever its name, there is one.
    let policy = (!reply.policy.is_empty()).then(|| check.server.clone());
    // Denials are few, and small.
    let denied = (said == pb::Decision::Denied).then(|| reply.clone());
    let decision = match (reply.into_answer(check), said, denied) {
        (Err(error), pb::Decision::Unspecified, _) => return Err(error),
        (Ok(answer), ..) => return Ok(answer),
        (Err(error), _, denied) => {
            tracing::debug!(%error, "only the decision of the limiter's answer can be read");
            match denied {
                None => Decision::Allowed,
                Some(reply) => Decision::Denied(denial(reply, check).ok_or(error)?),
            }
        }
    };
    Ok(Answer {
        decision,
        degraded,
        unlimited,
        policy,
        ..Answer::unlimited()
    })
}

/// What can be read of a denial. A limit is the server's and global unless it says otherwise; if its
/// quota cannot be read, it is one call in the wait, which is what the caller will see.
fn denial(reply: pb::CheckResponse, check: &Check) -> Option<Denial> {
    let said = reply.denial.unwrap_or_default();
    let wait = match said.retry_after.map(Duration::try_from) {
        None if said.limit.is_some() => None,
        Some(Ok(wait)) => Some(wait),
        None | Some(Err(_)) => Some(WAIT),
    };
    let mut statuses = reply.buckets.into_iter();
    let refusing = statuses.find(|status| status.limit == said.limit);
    let quota = refusing.and_then(|status| {
        let period = Duration::try_from(status.refill_period?).ok()?;
        Quota::new(status.capacity, period).ok()
    });
    // A wait within the bounds of a quota always makes one.
    let quota = quota.or_else(|| {
        let micros = wait.unwrap_or(WAIT).as_micros();
        let wait = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        Quota::new(1, wait.clamp(Quota::MIN_PERIOD, Quota::MAX_PERIOD)).ok()
    })?;
    let limit = said.limit.unwrap_or_default();
    let scope = match limit.scope() {
        pb::Scope::PerUser => Scope::PerUser,
        pb::Scope::Global | pb::Scope::Unspecified => Scope::Global,
    };
    let of_operation = limit.operation.is_some();
    let operation = check.operation.clone().filter(|_| of_operation);
    Some(Denial {
        limit: Arc::new(Limit::new(check.server.clone(), operation, scope, quota)),
        retry_after: wait,
        cost: check.cost.get(),
    })
}

#[cfg(test)]
mod tests;
