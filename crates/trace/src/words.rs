//! What spans say of a check, in the same words in every process.

use std::time::Duration;

use toolgate_limit::{Answer, Decision, Limit, OperationKind, Scope};

/// What became of the check: one of [`decision`]'s words, or `fail_open` or `refused` where no
/// limiter made a decision.
pub const DECISION: &str = "rate_limit.decision";
/// The limit that refused, see [`rejected_by`].
pub const REJECTED_BY: &str = "rate_limit.rejected_by";
/// Whether the call runs without a decision.
pub const FAIL_OPEN: &str = "rate_limit.fail_open";
/// Why there was no decision: one of a few names.
pub const CAUSE: &str = "rate_limit.cause";
/// Whether a replica has decided alone, without the store.
pub const DEGRADED: &str = "rate_limit.degraded";
/// Milliseconds until the denied check could pass, rounded up; absent if it never can.
pub const RETRY_AFTER_MS: &str = "rate_limit.retry_after_ms";
/// Whether a remembered denial was the answer, and nobody was asked.
pub const DENY_CACHE: &str = "rate_limit.deny_cache";
/// The server that is called, `namespace/name`.
pub const SERVER: &str = "rate_limit.server";

/// What a limiter has decided: `allowed`, `denied`, `shadow_denied` (a policy in shadow mode has kept
/// the denial back) or `unlimited`. A remote limiter's answers say `allowed` for the last two.
pub const fn decision(answer: &Answer) -> &'static str {
    match answer.decision {
        Decision::Denied(_) => "denied",
        Decision::Allowed if answer.shadowed.is_some() => "shadow_denied",
        Decision::Allowed if answer.unlimited => "unlimited",
        Decision::Allowed => "allowed",
    }
}

/// Which kind of limit refused: its scope and what is limited, without the names of users and
/// resources.
pub fn rejected_by(limit: &Limit) -> &'static str {
    let kind = limit.operation().map(toolgate_limit::Operation::kind);
    match (limit.scope(), kind) {
        (Scope::Global, None) => "global_server",
        (Scope::Global, Some(OperationKind::Tool)) => "global_tool",
        (Scope::Global, Some(OperationKind::Prompt)) => "global_prompt",
        (Scope::Global, Some(OperationKind::Resource)) => "global_resource",
        (Scope::PerUser, None) => "per_user_server",
        (Scope::PerUser, Some(OperationKind::Tool)) => "per_user_tool",
        (Scope::PerUser, Some(OperationKind::Prompt)) => "per_user_prompt",
        (Scope::PerUser, Some(OperationKind::Resource)) => "per_user_resource",
    }
}

/// `wait` as [`RETRY_AFTER_MS`]: never too short.
pub fn retry_after_ms(wait: Duration) -> i64 {
    i64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX)
}

/// The name of the gRPC status code with this number, as `rpc.response.status_code` has it.
pub const fn status_code(code: i32) -> &'static str {
    match code {
        0 => "OK",
        1 => "CANCELLED",
        3 => "INVALID_ARGUMENT",
        4 => "DEADLINE_EXCEEDED",
        5 => "NOT_FOUND",
        6 => "ALREADY_EXISTS",
        7 => "PERMISSION_DENIED",
        8 => "RESOURCE_EXHAUSTED",
        9 => "FAILED_PRECONDITION",
        10 => "ABORTED",
        11 => "OUT_OF_RANGE",
        12 => "UNIMPLEMENTED",
        13 => "INTERNAL",
        14 => "UNAVAILABLE",
        15 => "DATA_LOSS",
        16 => "UNAUTHENTICATED",
        // 2, and what no gRPC knows.
        _ => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use toolgate_limit::{Denial, Operation, Quota};

    use super::*;

    fn denial(kind: Option<OperationKind>, scope: Scope) -> Denial {
        let operation = kind.map(|kind| Operation::new(kind, "its-own-name").expect("a name"));
        let quota = Quota::new(1, Duration::from_secs(1)).expect("a quota");
        let server = "test/server".parse().expect("a server");
        Denial {
            limit: Arc::new(Limit::new(server, operation, scope, quota)),
            retry_after: None,
            cost: 1,
        }
    }

    #[test]
    fn a_limit_is_told_by_its_scope_and_kind_and_never_by_a_name() {
        for (scope, scope_word) in [(Scope::Global, "global"), (Scope::PerUser, "per_user")] {
            for kind in [
                None,
                Some(OperationKind::Tool),
                Some(OperationKind::Prompt),
                Some(OperationKind::Resource),
            ] {
                let kind_word = kind.map_or("server", OperationKind::as_str);
                let expected = format!("{scope_word}_{kind_word}");
                assert_eq!(rejected_by(&denial(kind, scope).limit), expected);
            }
        }
    }

    #[test]
    fn each_decision_has_a_word() {
        let answer = |decision, shadowed, unlimited| Answer {
            decision,
            shadowed,
            unlimited,
            ..Answer::unlimited()
        };
        let denial = || denial(None, Scope::Global);
        for (answer, word) in [
            (answer(Decision::Allowed, None, false), "allowed"),
            (answer(Decision::Allowed, None, true), "unlimited"),
            (
                answer(Decision::Allowed, Some(denial()), false),
                "shadow_denied",
            ),
            (answer(Decision::Denied(denial()), None, false), "denied"),
        ] {
            assert_eq!(decision(&answer), word);
        }
    }

    #[test]
    fn a_wait_is_rounded_up() {
        for (micros, millis) in [(0, 0), (1, 1), (1_000, 1), (5_900_001, 5_901)] {
            assert_eq!(retry_after_ms(Duration::from_micros(micros)), millis);
        }
        assert_eq!(retry_after_ms(Duration::MAX), i64::MAX);
    }
}
