//! Whether two replicas enforce the same.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest as _, Sha256};
use toolgate_limit::{Mode, Policy, Scope, Snapshot};

/// The last fingerprint that was asked for: it is made once a generation.
#[derive(Debug, Default)]
pub(super) struct Fingerprint(Mutex<Option<(u64, String)>>);

/// So many bytes of the hash are shown, twice as many letters.
const SHOWN: usize = 8;

impl Fingerprint {
    /// That of the policies of `snapshot`: by what they limit, whatever their generation is and
    /// wherever they were read.
    pub(super) fn of(&self, snapshot: &Snapshot) -> String {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = snapshot.generation();
        match &*last {
            Some((of, known)) if *of == generation => known.clone(),
            _ => last.insert((generation, fingerprint(snapshot))).1.clone(),
        }
    }
}

fn fingerprint(snapshot: &Snapshot) -> String {
    let mut hash = Sha256::new();
    for policy in snapshot.policies() {
        add(&mut hash, policy);
    }
    let mut text = String::with_capacity(2 * SHOWN);
    for byte in hash.finalize().iter().take(SHOWN) {
        write!(text, "{byte:02x}").unwrap_or_else(|_| unreachable!("a String takes all"));
    }
    text
}

/// Neither a server nor a field can hold a line feed, so no two policies are the same text.
fn add(hash: &mut Sha256, policy: &Arc<Policy>) {
    let mode = match policy.mode() {
        Mode::Enforce => "enforce",
        Mode::Shadow => "shadow",
    };
    hash.update(format!("{} {mode}\n", policy.server()));
    for limit in policy.limits() {
        let scope = match limit.scope() {
            Scope::Global => "global",
            Scope::PerUser => "per user",
        };
        let (field, quota) = (limit.field(), limit.quota());
        let (capacity, period) = (quota.capacity(), quota.refill_period().as_nanos());
        hash.update(format!(" {field} {scope} {capacity} {period}\n"));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use toolgate_limit::{Operation, OperationKind, Quota, Quotas};

    use super::*;

    fn policy(name: &str, mode: Mode, capacity: u32, tools: &[&str]) -> Policy {
        let quota = Quota::new(capacity, Duration::from_mins(1)).expect("a quota");
        let quotas = Quotas {
            global: None,
            per_user: Some(quota),
        };
        let tool = |name: &&str| (Operation::new(OperationKind::Tool, name), quotas);
        let tools = tools.iter().map(tool);
        let tools = tools.map(|(tool, quotas)| (tool.expect("a tool"), quotas));
        let server = format!("test/{name}").parse().expect("a server");
        Policy::new(server, mode, quotas, tools).expect("a policy")
    }

    fn of(generation: u64, policies: Vec<Policy>) -> String {
        Fingerprint::default().of(&Snapshot::new(generation, policies))
    }

    #[test]
    fn it_is_that_of_the_limits_and_of_nothing_else() {
        let a = |capacity| policy("a", Mode::Enforce, capacity, &["x", "y"]);
        let b = || policy("b", Mode::Shadow, 5, &[]);
        let usual = of(1, vec![a(5), b()]);
        assert_eq!(usual.len(), 16);
        assert_eq!(usual, of(7, vec![b(), a(5)]), "in whatever order");
        for other in [
            vec![a(5)],
            vec![a(6), b()],
            vec![a(5), policy("b", Mode::Enforce, 5, &[])],
            vec![policy("a", Mode::Enforce, 5, &["x"]), b()],
        ] {
            assert_ne!(usual, of(1, other));
        }
    }

    #[test]
    fn a_new_generation_has_a_new_one() {
        let fingerprint = Fingerprint::default();
        let of = |generation, capacity| {
            let policies = [policy("a", Mode::Enforce, capacity, &[])];
            fingerprint.of(&Snapshot::new(generation, policies))
        };
        let first = of(1, 5);
        assert_eq!(first, of(1, 5));
        assert_ne!(first, of(2, 6));
    }
}
