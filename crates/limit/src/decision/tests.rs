use std::time::Duration;

use super::*;
use crate::{Operation, OperationKind, Quota, Scope};

fn denial(limit: Limit, retry_after: Option<Duration>, cost: u32) -> String {
    Denial {
        limit: Arc::new(limit),
        retry_after,
        cost,
    }
    .to_string()
}

fn limit(scope: Scope, tool: Option<&str>) -> Limit {
    let operation = tool.map(|name| Operation::new(OperationKind::Tool, name).expect("valid"));
    let quota = Quota::new(10, Duration::from_mins(1)).expect("valid");
    let server = "default/research".parse().expect("valid");
    Limit::new(server, operation, scope, quota)
}

#[test]
fn a_denial_tells_people_the_limit_and_when_to_come_back() {
    assert_eq!(
        denial(
            limit(Scope::PerUser, Some("github_search")),
            Some(Duration::from_micros(5_812_345)),
            1
        ),
        "10 calls per 1m per user of tool github_search; retry in 5.9s"
    );
    assert_eq!(
        denial(
            limit(Scope::Global, None),
            Some(Duration::from_micros(1_001)),
            1
        ),
        "10 calls per 1m of server default/research; retry in 2ms"
    );
    assert_eq!(
        denial(limit(Scope::PerUser, None), None, 11),
        "10 calls per 1m per user of server default/research; \
         a cost of 11 tokens is above the capacity and can never pass"
    );
}

#[test]
fn an_announced_wait_is_never_shorter_than_the_real_one() {
    for micros in [
        1,
        999,
        1_000,
        999_999,
        1_000_001,
        59_999_999,
        2_592_000_000_001,
    ] {
        let wait = Duration::from_micros(micros);
        assert!(round_up(wait) >= wait);
        assert!(round_up(wait) < wait + Duration::from_millis(101));
    }
}
