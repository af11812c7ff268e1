//! Calls to a replica in mid-load.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use toolgate_tests::{Load, eventually};

use crate::caller::{Caller, Outcome};

/// One call under load.
pub(crate) struct Call {
    pub(crate) took: Duration,
    pub(crate) outcome: Outcome,
}

/// Calls `a_echo` once.
pub(crate) async fn timed(caller: &Caller) -> Call {
    let began = Instant::now();
    let outcome = caller.call("a_echo", json!({})).await;
    Call {
        took: began.elapsed(),
        outcome,
    }
}

/// `callers` that call `a_echo` again and again.
pub(crate) fn load(caller: &Caller, callers: usize) -> Load<Call> {
    let caller = caller.clone();
    Load::start(callers, move || {
        let caller = caller.clone();
        async move { timed(&caller).await }
    })
}

/// Waits for `more` answers.
pub(crate) async fn goes_on(load: &Load<Call>, more: usize) {
    let enough = load.answers() + more;
    eventually("calls are answered", async || {
        (load.answers() >= enough).then_some(())
    })
    .await;
}
