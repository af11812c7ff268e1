use std::{num::NonZeroU32, time::Duration};

use proptest::prelude::*;
use prost::Message as _;
use toolgate_limit::{Check, Identity, Operation, OperationKind, ServerId, TraceContext};
use toolgate_proto::pb;

use super::MAX_REQUEST_BYTES;

/// The message of a check by `identity`, with the longest of everything else.
fn longest_of(identity: Identity) -> usize {
    let part = "x".repeat(ServerId::MAX_PART);
    let server = format!("{part}/{part}").parse().expect("a server");
    let name = "x".repeat(Operation::MAX_NAME);
    let check = Check {
        server,
        identity,
        operation: Some(Operation::new(OperationKind::Resource, &name).expect("a name")),
        cost: NonZeroU32::MAX,
        trace: None,
    };
    let timeout = Duration::new(u64::MAX >> 2, 999_999_999);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let trace: TraceContext = trace.parse().expect("a context");
    let trace = trace.with_state(&"x".repeat(TraceContext::MAX_STATE));
    let mut request =
        pb::CheckStreamRequest::new(u64::MAX, (&check).into(), timeout).traced(&trace);
    request.omit_buckets_if_allowed = true;
    request.encoded_len()
}

fn of_longest_names(groups: Vec<String>) -> Option<Identity> {
    let part = "x".repeat(Identity::MAX_PART);
    let user = Identity::new(part.clone()).expect("a subject");
    let user = user.of_issuer(part).expect("an issuer");
    user.in_groups(groups).ok()
}

proptest! {
    /// 1,024 groups of 256 bytes were accepted, and no limiter read their check.
    #[test]
    fn a_check_of_every_identity_can_be_sent(
        lengths in prop::collection::vec(0..=256_usize, 0..1_030),
        short in 0..=16_usize,
    ) {
        // As they are, as many of them as there may be, and cut to a few bytes each.
        let groups = |most: usize| lengths.iter().map(move |length| "x".repeat(*length.min(&most)));
        let mut fitting: Vec<String> = groups(256).collect();
        while of_longest_names(fitting.clone()).is_none() {
            fitting.pop();
        }
        let all = [fitting, groups(256).collect(), groups(short).collect()];
        for identity in all.into_iter().filter_map(of_longest_names) {
            prop_assert!(longest_of(identity) <= MAX_REQUEST_BYTES);
        }
    }
}

#[test]
fn the_largest_identities_there_are_can_be_sent() {
    for (length, many) in [(253, 32), (256, 31), (5, 1_024), (0, 1_024)] {
        let groups = vec!["x".repeat(length); many];
        let identity = of_longest_names(groups).expect("accepted");
        let bytes = longest_of(identity);
        assert!(
            (8_000..=MAX_REQUEST_BYTES).contains(&bytes) || length == 0,
            "{bytes}"
        );
    }
}
