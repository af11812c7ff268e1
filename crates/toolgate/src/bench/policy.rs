//! The quotas behind answers that do not name their buckets: those of the policy in force.

use std::{collections::HashMap, time::Duration};

use toolgate_proto::pb::{self, limit::Operation};

use super::{
    Load,
    admission::{Kind, Quota},
};
use crate::client::{CallError, Client};

/// The limits of one server, as far as checks touch them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Global and per user.
    own: [Option<Quota>; 2],
    /// By the number of the tool.
    tools: HashMap<u32, [Option<Quota>; 2]>,
}

impl Policy {
    /// The policy that the first limiter of `load` has in force.
    pub(crate) async fn read(load: &Load) -> Result<Self, CallError> {
        let Some(endpoint) = load.endpoints.first() else {
            return Ok(Self::default());
        };
        let request = pb::GetPolicyRequest {
            server: load.server.clone(),
        };
        let client = Client::new(endpoint, load.timeout);
        let policy = client.get_policy(request).await?;
        Ok(Self::of(&policy, &load.tool_prefix))
    }

    /// Limits of prompts, of resources and of tools that are called otherwise concern no check.
    fn of(policy: &pb::Policy, tool_prefix: &str) -> Self {
        let mut known = Self::default();
        for limited in &policy.limits {
            let limit = limited.limit.clone().unwrap_or_default();
            let scope = match limit.scope() {
                pb::Scope::Global => 0,
                pb::Scope::PerUser => 1,
                pb::Scope::Unspecified => continue,
            };
            let quotas = match &limit.operation {
                None => &mut known.own,
                Some(Operation::Tool(name)) => match number(name, tool_prefix) {
                    Some(tool) => known.tools.entry(tool).or_default(),
                    None => continue,
                },
                Some(_) => continue,
            };
            quotas[scope] = quota(limited);
        }
        known
    }

    /// Those of the buckets that a check of `tool` touches.
    pub(crate) fn quotas(&self, tool: u32) -> [Option<Quota>; Kind::COUNT] {
        let [global, per_user] = self.own;
        let [of_tool, of_tool_per_user] = self.tools.get(&tool).copied().unwrap_or_default();
        [global, of_tool, per_user, of_tool_per_user]
    }
}

fn quota(limited: &pb::PolicyLimit) -> Option<Quota> {
    let period = Duration::try_from(limited.refill_period?).ok()?;
    let period = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
    let capacity = limited.capacity.into();
    (period > 0).then_some(Quota { capacity, period })
}

/// Of a name that checks give to a tool.
fn number(name: &str, prefix: &str) -> Option<u32> {
    let digits = name.strip_prefix(prefix)?;
    let number: u32 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Policy {
        pub(crate) fn with_own(own: [Option<Quota>; 2]) -> Self {
            Self {
                own,
                ..Self::default()
            }
        }
    }

    const PER_SECOND: u64 = 1_000_000_000;

    fn limit(scope: pb::Scope, operation: Option<Operation>, capacity: u32) -> pb::PolicyLimit {
        let period = Duration::from_nanos(PER_SECOND).try_into();
        pb::PolicyLimit {
            limit: Some(pb::Limit {
                scope: scope.into(),
                operation,
            }),
            capacity,
            refill_period: period.ok(),
        }
    }

    #[test]
    fn a_check_touches_the_buckets_of_the_server_and_of_its_own_tool() {
        let tool = |name: &str| Some(Operation::Tool(name.to_owned()));
        let prompt = Some(Operation::Prompt("tool-7".to_owned()));
        let known = Policy::of(
            &pb::Policy {
                limits: vec![
                    limit(pb::Scope::Global, None, 1),
                    limit(pb::Scope::PerUser, None, 2),
                    limit(pb::Scope::Global, tool("tool-7"), 3),
                    limit(pb::Scope::PerUser, tool("tool-7"), 4),
                    limit(pb::Scope::PerUser, tool("tool-8"), 5),
                    // Of none that a check names.
                    limit(pb::Scope::Global, tool("tool-08"), 6),
                    limit(pb::Scope::Global, tool("tool-+8"), 6),
                    limit(pb::Scope::Global, tool("tool-x"), 6),
                    limit(pb::Scope::Global, tool("another-8"), 6),
                    limit(pb::Scope::Global, prompt, 6),
                ],
                ..pb::Policy::default()
            },
            "tool-",
        );
        let capacities = |tool| {
            let quotas = known.quotas(tool);
            assert!(quotas.iter().flatten().all(|q| q.period == PER_SECOND));
            quotas.map(|quota| quota.map_or(0, |quota| quota.capacity))
        };
        assert_eq!(capacities(7), [1, 3, 2, 4]);
        assert_eq!(capacities(8), [1, 0, 2, 5]);
        assert_eq!(capacities(9), [1, 0, 2, 0]);
    }
}
