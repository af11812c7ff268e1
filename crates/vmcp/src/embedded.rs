//! The limiter in this process, with the limits of its own configuration file.
//!
//! The file is watched: changed limits come into force without a restart, and keep the tokens that
//! buckets have. Limits that are wrong or missing then change nothing. All other fields are read
//! once, at the start.

use std::{fmt, io, sync::Arc};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Registry};
use toolgate_limit::{MemoryStore, ServerId, StoreLimiter, SystemClock};
use toolgate_policy::{Diagnostics, FileSource, Registry as Policies, Watch};
use toolgate_telemetry::counters;
use tracing::warn;

use crate::config::InlineLimits;

/// Users that are kept at most.
const MAX_USERS: usize = 1_000_000;

/// Why an embedded limiter did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// The file was changed after it was read, to limits that cannot be.
    #[error("the limits are not valid:\n{0}")]
    Limits(Diagnostics),
    /// The file cannot be watched.
    #[error("the configuration file cannot be watched")]
    Watch(#[from] io::Error),
}

/// Decides by `limits` of `server`. They are kept up to date as long as the watch lives; limits
/// that were given as a text have none.
pub(crate) fn start(
    limits: InlineLimits,
    server: ServerId,
    registry: &mut Registry,
) -> Result<(StoreLimiter, Option<Watch>), EmbeddedError> {
    let policies = Arc::new(Policies::new(Arc::new(SystemClock::new())));
    let watch = match limits.file {
        None => {
            for warning in &limits.warnings {
                warn!("{warning}");
            }
            policies.publish(vec![limits.policy]);
            None
        }
        Some(file) => {
            let mut source = FileSource::inline(file, server);
            source.load(&policies).map_err(EmbeddedError::Limits)?;
            Some(source.watch(Arc::clone(&policies))?)
        }
    };
    registry.register_collector(Box::new(Reloads(Arc::clone(&policies))));
    let store = Arc::new(MemoryStore::new(MAX_USERS));
    Ok((StoreLimiter::new(policies, store), watch))
}

/// Shows how often limits were read.
#[derive(Debug)]
struct Reloads(Arc<Policies>);

impl Collector for Reloads {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = self.0.status();
        counters(
            &mut encoder,
            "toolgate_policy_reloads",
            "Readings of the policies, the first one included; after a failure they stay as they were",
            [
                ([("result", "success")], status.succeeded),
                ([("result", "failure")], status.failed),
            ],
        )
    }
}
