//! What `/metrics` of a limiter says, against what is known to have happened and against
//! docs/observability.md, on real processes.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

mod asks;
#[cfg(feature = "sdk")]
mod cardinality;
mod documented;
mod errors;
mod exemplars;
mod frames;
mod outcomes;
mod policies;
mod store;

use std::collections::BTreeMap;

use toolgate_tests::{Exposition, Limiter};

/// Asserts that just these series of `metric` have counted just so much; the others are at zero.
fn assert_counted(exposition: &Exposition, metric: &str, expected: &[(&str, u64)]) {
    let expected: BTreeMap<_, _> = expected.iter().copied().collect();
    assert_eq!(exposition.counted(metric), expected, "{metric}");
}

async fn scrape(limiter: &Limiter) -> Exposition {
    limiter.metrics().await.expect("metrics")
}
