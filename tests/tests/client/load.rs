//! Calls as a gateway makes them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use toolgate_client::{Client, ClientConfig, FailOpen, OnUnavailable, Verdict};
use toolgate_limit::{Check, Identity};
use toolgate_tests::Load;
pub(crate) use toolgate_tests::client_config as config;

pub(crate) type Gateway = FailOpen<Client>;

/// A call of `user` to `test/server`.
pub(crate) fn call_of(user: &str) -> Check {
    Check {
        server: "test/server".parse().expect("valid"),
        identity: Identity::new(user).expect("valid"),
        operation: None,
        cost: Check::COST_OF_ONE,
        trace: None,
    }
}

/// A call of somebody who has not called before.
pub(crate) fn call() -> Check {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    call_of(&format!("user-{}", NEXT.fetch_add(1, Ordering::SeqCst)))
}

/// The same, with a deadline that is meant to pass.
pub(crate) fn impatient(endpoint: &str) -> ClientConfig {
    ClientConfig {
        timeout: Duration::from_millis(200),
        ..config(endpoint)
    }
}

pub(crate) fn gateway(config: ClientConfig) -> Arc<Gateway> {
    let client = Client::new(config).expect("valid settings");
    Arc::new(FailOpen::new(client, OnUnavailable::Allow))
}

pub(crate) fn http(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// `callers` of `gateway`, each with one check after the other.
pub(crate) fn load(gateway: &Arc<Gateway>, callers: usize, check: fn() -> Check) -> Load<Verdict> {
    let gateway = Arc::clone(gateway);
    Load::start(callers, move || {
        let gateway = Arc::clone(&gateway);
        async move { gateway.check(check()).await }
    })
}
