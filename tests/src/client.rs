//! Settings of the client that a gateway embeds.

use std::time::Duration;

use toolgate_client::{Backoff, BreakerConfig, ClientConfig, Endpoint};

use crate::PATIENCE;

/// Settings under which tests are quick, and a check that waits is seen: it would wait as long as a
/// test may take. Each check is sent, so what a limiter does is seen at once: no denial is
/// remembered.
///
/// # Panics
///
/// When `endpoint` is none.
pub fn client_config(endpoint: &str) -> ClientConfig {
    let endpoint: Result<Endpoint, _> = endpoint.parse();
    let Ok(endpoint) = endpoint else {
        panic!("no endpoint: {endpoint:?}");
    };
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
        remember_denials: Duration::ZERO,
        ..ClientConfig::new(endpoint)
    }
}
