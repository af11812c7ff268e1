//! Whether a connection may be dead: a request has failed on its way.
//!
//! A `ping` decides, and requests that come meanwhile wait for it. So a backend that is gone costs
//! the request that found it out, and not all until the lists are looked at again.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rmcp::{
    Peer, RoleClient,
    model::{ClientRequest, PingRequest},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use super::failure::Failure;

/// The least time from one question to the next.
const LEAST_GAP: Duration = Duration::from_millis(100);

/// How long an answer may take. Any will do.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The doubts of one connection.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    told: Notify,
    raised: AtomicU64,
    settled: AtomicU64,
}

impl Doubt {
    pub(super) fn raise(&self) {
        self.raised.fetch_add(1, Ordering::SeqCst);
        self.told.notify_one();
    }

    pub(super) fn is_there(&self) -> bool {
        self.raised() > self.settled.load(Ordering::SeqCst)
    }

    /// How many there were. One that comes later is not settled with them.
    pub(super) fn raised(&self) -> u64 {
        self.raised.load(Ordering::SeqCst)
    }

    pub(super) fn settle(&self, raised: u64) {
        self.settled.fetch_max(raised, Ordering::SeqCst);
    }

    /// Until there is one, and some time after that of `last`.
    pub(super) async fn is_raised(&self, last: Option<Instant>) {
        while !self.is_there() {
            self.told.notified().await;
        }
        if let Some(last) = last {
            sleep_until(last + LEAST_GAP).await;
        }
    }
}

/// Whether there is somebody at the other end. What they think of the `ping` does not matter.
pub(super) async fn answers(peer: &Peer<RoleClient>) -> bool {
    let ping = ClientRequest::PingRequest(PingRequest::default());
    let answered = timeout(ANSWER_WITHIN, peer.send_request(ping)).await;
    match answered.map(|answered| answered.map_err(Failure::of)) {
        Ok(Err(Failure::Broken)) | Err(_) => false,
        Ok(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_doubt_that_comes_during_a_question_is_not_settled_by_it() {
        let doubt = Doubt::default();
        let start = Instant::now();
        doubt.raise();
        doubt.is_raised(None).await;
        assert_eq!(Instant::now(), start);
        let raised = doubt.raised();
        doubt.raise();
        doubt.settle(raised);
        assert!(doubt.is_there());
        doubt.is_raised(Some(start)).await;
        assert_eq!(Instant::now(), start + LEAST_GAP);
        doubt.settle(doubt.raised());
        assert!(!doubt.is_there());
        let none = timeout(Duration::from_hours(1), doubt.is_raised(None)).await;
        assert!(none.is_err());
    }
}
