//! What tests of backends wait for.

use std::net::SocketAddr;

use tokio::time::{Duration, sleep, timeout};
use vmcp::core::Core;

use crate::backend::{over_http, url};

pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until something is so.
pub(crate) async fn until(what: &str, is: impl AsyncFn() -> bool) {
    let wait = async {
        while !is().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect(what);
}

/// Waits until each backend of `core` has been tried.
pub(crate) async fn settled(core: &Core) {
    let mut settled = core.settled();
    let settled = timeout(PATIENCE, settled.wait_for(|settled| *settled));
    settled.await.unwrap().unwrap();
}

/// With the backend `a` at `address` alone, which has been tried.
pub(crate) async fn core_of(address: SocketAddr) -> Core {
    let core = Core::start(vec![over_http("a", url(address))]);
    settled(&core).await;
    core
}
