//! What a call knows of its connection.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Extensions, Status};

use super::{Caller, Share, status};
use crate::shares::Allowance;

/// The other end of a connection. Each of its calls has it among its extensions.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) caller: Caller,
    /// What its checks may hold.
    pub(crate) share: Arc<Share>,
    /// What it may have in flight.
    pub(crate) allowance: Allowance,
    /// Streams tell their callers to go elsewhere.
    leaving: CancellationToken,
    /// The same, at the price of a load.
    is_leaving: AtomicBool,
    /// Streams take nothing more, answer what they have taken, and end.
    cut: CancellationToken,
    calls: AtomicUsize,
}

/// A call in flight, from its first byte to the last of its answer.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Peer>);

impl Peer {
    /// `max_checks`: the most that are in flight or whose answers are unread.
    pub(crate) fn new(caller: Caller, max_checks: usize, allowance: Allowance) -> Arc<Self> {
        Arc::new(Self {
            caller,
            share: Share::new(max_checks),
            allowance,
            leaving: CancellationToken::new(),
            is_leaving: AtomicBool::new(false),
            cut: CancellationToken::new(),
            calls: AtomicUsize::new(0),
        })
    }

    /// Who makes the call with these `extensions`. A call of nobody is refused.
    pub(crate) fn of(extensions: &Extensions) -> Result<Arc<Self>, Status> {
        let peer = extensions.get::<Arc<Self>>();
        peer.cloned().ok_or_else(status::no_connection)
    }

    /// One more call, until the value is dropped.
    pub(crate) fn begin_call(self: &Arc<Self>) -> InFlight {
        self.calls.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    pub(crate) fn has_calls(&self) -> bool {
        self.calls.load(Ordering::Relaxed) > 0
    }

    /// Has streams ask their callers to leave.
    pub(crate) fn leave(&self) {
        self.is_leaving.store(true, Ordering::Release);
        self.leaving.cancel();
    }

    /// Has streams take nothing more.
    pub(crate) fn cut(&self) {
        self.cut.cancel();
    }

    /// Whether callers should leave.
    pub(crate) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Acquire)
    }

    /// Done when callers should leave.
    pub(crate) fn left(&self) -> WaitForCancellationFutureOwned {
        self.leaving.clone().cancelled_owned()
    }

    /// Done when streams must take nothing more.
    pub(crate) fn was_cut(&self) -> WaitForCancellationFutureOwned {
        self.cut.clone().cancelled_owned()
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}
