//! Replies to domain values, as a client reads them. Each error names the field.
//!
//! A reply leaves out what its check has said already, the server and the cost, and says a denial's
//! quota only with the bucket that refused.

use std::{sync::Arc, time::Duration};

use toolgate_limit::{
    Answer, BucketStatus, Check, Decision, Denial, Limit, Operation, OperationKind, Quota, Scope,
    ServerId,
};

use crate::{InvalidField, pb};

impl pb::CheckResponse {
    /// The answer to `check`.
    pub fn into_answer(self, check: &Check) -> Result<Answer, InvalidField> {
        let said = self.decision();
        let buckets: Vec<_> = self
            .buckets
            .into_iter()
            .map(|status| bucket(status, &check.server).map_err(|error| error.within("buckets")))
            .collect::<Result<_, _>>()?;
        let decision = match said {
            pb::Decision::Allowed => Decision::Allowed,
            pb::Decision::Denied => {
                let denied = set(self.denial, "denial")?;
                let denied = denial(denied, check, &buckets);
                Decision::Denied(denied.map_err(|error| error.within("denial"))?)
            }
            pb::Decision::Unspecified => {
                return Err(InvalidField::new("decision", &"must be allowed or denied"));
            }
        };
        Ok(Answer {
            decision,
            buckets,
            unlimited: self.unlimited,
            // A name in words that this version does not know is still the name of a policy.
            policy: (!self.policy.is_empty())
                .then(|| self.policy.parse().unwrap_or_else(|_| check.server.clone())),
            shadowed: None,
            degraded: self.degraded,
            uncertainty: match self.uncertainty {
                None => Duration::ZERO,
                Some(uncertainty) => span(uncertainty, "uncertainty")?,
            },
        })
    }
}

impl pb::PeekResponse {
    /// The answer to `check`.
    pub fn into_answer(self, check: &Check) -> Result<Answer, InvalidField> {
        let reply = set(self.check, "check")?;
        let answer = reply.into_answer(check);
        answer.map_err(|error| error.within("check"))
    }
}

fn denial(
    denial: pb::Denial,
    check: &Check,
    buckets: &[BucketStatus],
) -> Result<Denial, InvalidField> {
    let (scope, operation) = target(denial.limit)?;
    let is_target =
        |limit: &Limit| limit.scope() == scope && limit.operation() == operation.as_ref();
    let refusing = buckets.iter().find(|status| is_target(&status.limit));
    let refusing = refusing.ok_or_else(|| InvalidField::new("limit", &"has no bucket"))?;
    let retry_after = denial.retry_after.map(|wait| span(wait, "retry_after"));
    Ok(Denial {
        limit: Arc::clone(&refusing.limit),
        retry_after: retry_after.transpose()?,
        cost: check.cost.get(),
    })
}

fn bucket(status: pb::BucketStatus, server: &ServerId) -> Result<BucketStatus, InvalidField> {
    let (scope, operation) = target(status.limit)?;
    let refill_period = span(set(status.refill_period, "refill_period")?, "refill_period")?;
    let quota = Quota::new(status.capacity, refill_period)
        .map_err(|error| InvalidField::new("capacity", &error))?;
    Ok(BucketStatus {
        limit: Arc::new(Limit::new(server.clone(), operation, scope, quota)),
        remaining: status.remaining,
        full_after: span(set(status.full_after, "full_after")?, "full_after")?,
    })
}

fn target(limit: Option<pb::Limit>) -> Result<(Scope, Option<Operation>), InvalidField> {
    use pb::limit::Operation as Named;
    let limit = set(limit, "limit")?;
    let scope = match limit.scope() {
        pb::Scope::Global => Scope::Global,
        pb::Scope::PerUser => Scope::PerUser,
        pb::Scope::Unspecified => {
            return Err(InvalidField::new(
                "limit.scope",
                &"must be global or per user",
            ));
        }
    };
    let operation = limit.operation.map(|named| {
        let (kind, name) = match named {
            Named::Tool(name) => (OperationKind::Tool, name),
            Named::Prompt(name) => (OperationKind::Prompt, name),
            Named::Resource(name) => (OperationKind::Resource, name),
        };
        Operation::new(kind, &name).map_err(InvalidField::at("limit.operation"))
    });
    Ok((scope, operation.transpose()?))
}

fn set<T>(value: Option<T>, field: &str) -> Result<T, InvalidField> {
    value.ok_or_else(|| InvalidField::new(field, &"must be set"))
}

fn span(value: prost_types::Duration, field: &str) -> Result<Duration, InvalidField> {
    Duration::try_from(value)
        .map_err(|_| InvalidField::new(field, &"must not be negative or out of range"))
}

#[cfg(test)]
mod tests {
    use toolgate_limit::{Identity, NameError};

    use super::*;

    fn check() -> Result<Check, NameError> {
        Ok(Check {
            server: "default/research".parse()?,
            identity: Identity::new("alice")?,
            operation: Some(Operation::new(OperationKind::Tool, "search")?),
            cost: Check::COST_OF_ONE,
            trace: None,
        })
    }

    fn status(check: &Check, operation: Option<Operation>, scope: Scope) -> BucketStatus {
        let quota = Quota::new(10, Duration::from_mins(1)).expect("a quota");
        BucketStatus {
            limit: Arc::new(Limit::new(check.server.clone(), operation, scope, quota)),
            remaining: 0,
            full_after: Duration::from_millis(59_123),
        }
    }

    fn denied(check: &Check, retry_after: Option<Duration>) -> Answer {
        let buckets = vec![
            status(check, None, Scope::Global),
            status(check, check.operation.clone(), Scope::PerUser),
        ];
        let denial = Denial {
            limit: Arc::clone(&buckets[1].limit),
            retry_after,
            cost: check.cost.get(),
        };
        Answer {
            decision: Decision::Denied(denial),
            buckets,
            unlimited: false,
            policy: Some(check.server.clone()),
            shadowed: None,
            degraded: true,
            uncertainty: Duration::from_micros(1_234),
        }
    }

    #[test]
    fn an_answer_reads_from_its_reply_as_it_was() -> Result<(), NameError> {
        let check = check()?;
        let allowed = Answer {
            unlimited: false,
            ..Answer::unlimited()
        };
        let without_bucket = Answer {
            policy: Some(check.server.clone()),
            ..Answer::unlimited()
        };
        for answer in [
            allowed,
            Answer::unlimited(),
            without_bucket,
            denied(&check, Some(Duration::from_micros(5_900_001))),
            denied(&check, None),
        ] {
            let reply = pb::CheckResponse::from(answer.clone());
            assert_eq!(reply.into_answer(&check), Ok(answer));
        }
        Ok(())
    }

    #[test]
    fn a_reply_that_lacks_something_names_it() -> Result<(), NameError> {
        let check = check()?;
        let full = || pb::CheckResponse::from(denied(&check, None));
        let field = |spoil: fn(&mut pb::CheckResponse)| {
            let mut reply = full();
            spoil(&mut reply);
            reply.into_answer(&check).expect_err("spoilt").field
        };
        assert_eq!(field(|reply| reply.decision = 0), "decision");
        assert_eq!(field(|reply| reply.decision = 99), "decision");
        assert_eq!(field(|reply| reply.denial = None), "denial");
        assert_eq!(field(|reply| reply.buckets.truncate(1)), "denial.limit");
        let lost = field(|reply| reply.buckets[0].limit = None);
        assert_eq!(lost, "buckets.limit");
        let lost = field(|reply| reply.buckets[0].refill_period = None);
        assert_eq!(lost, "buckets.refill_period");
        assert_eq!(
            field(|reply| reply.buckets[0].capacity = 0),
            "buckets.capacity"
        );
        let lost = field(|reply| reply.buckets[0].full_after = None);
        assert_eq!(lost, "buckets.full_after");
        let error = pb::PeekResponse::default().into_answer(&check);
        assert_eq!(error.expect_err("empty").to_string(), "check: must be set");
        Ok(())
    }
}
