//! Calls as a gateway makes them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinSet;
use toolgate_client::{
    Backoff, BreakerConfig, Client, ClientConfig, FailOpen, OnUnavailable, Verdict,
};
use toolgate_limit::{Check, Identity};
use toolgate_tests::PATIENCE;

pub(crate) type Gateway = FailOpen<Client>;

/// A call of `user` to `test/server`.
pub(crate) fn call_of(user: &str) -> Check {
    Check {
        server: "test/server".parse().expect("valid"),
        identity: Identity::new(user).expect("valid"),
        operation: None,
        cost: Check::COST_OF_ONE,
    }
}

/// A call of somebody who has not called before.
pub(crate) fn call() -> Check {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    call_of(&format!("user-{}", NEXT.fetch_add(1, Ordering::SeqCst)))
}

/// Settings under which tests are quick, and a check that waits is seen: it would wait as long as a
/// test may take.
pub(crate) fn config(endpoint: &str) -> ClientConfig {
    ClientConfig {
        timeout: PATIENCE,
        reconnect: Backoff {
            first: Duration::from_millis(20),
            longest: Duration::from_millis(200),
        },
        breaker: BreakerConfig {
            failures: 5,
            probe: Backoff {
                first: Duration::from_millis(300),
                longest: Duration::from_millis(600),
            },
        },
        resolve_interval: Duration::from_millis(100),
        ..ClientConfig::new(endpoint.parse().expect("an endpoint"))
    }
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

/// Calls from many tasks at a time until it is told to end.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    callers: JoinSet<Vec<Verdict>>,
}

impl Load {
    /// `callers` that call one time after the other, each as often as it is answered.
    pub(crate) fn start(gateway: &Arc<Gateway>, callers: usize, check: fn() -> Check) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let caller = || {
            let (gateway, stop) = (Arc::clone(gateway), Arc::clone(&stop));
            async move {
                let mut verdicts = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    verdicts.push(gateway.check(check()).await);
                    // Answers that need no waiting do not yield by themselves.
                    tokio::task::yield_now().await;
                }
                verdicts
            }
        };
        Self {
            callers: (0..callers).map(|_| caller()).collect(),
            stop,
        }
    }

    /// All that was answered.
    pub(crate) async fn end(self) -> Vec<Verdict> {
        self.stop.store(true, Ordering::SeqCst);
        self.callers.join_all().await.concat()
    }
}
