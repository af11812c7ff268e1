//! One question to the limiter, and what its answer means for the request.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::time::Instant;
use toolgate_client::{FailOpen, OnUnavailable, Verdict};
use toolgate_limit::{Check, Identity, Limiter, Operation, OperationKind, ServerId};
use toolgate_telemetry::{TracedHistogram, observe};

use crate::VmcpError;

mod metrics;

pub(crate) use metrics::Remote;

/// Asks a limiter for one server.
#[derive(Debug)]
pub struct Gate {
    server: ServerId,
    limiter: Arc<FailOpen<Arc<dyn Limiter>>>,
    on_unavailable: OnUnavailable,
    check_duration: TracedHistogram,
}

impl Gate {
    /// Asks `limiter` for `server`, and does as `on_unavailable` says where it makes no decision.
    pub fn new(server: ServerId, limiter: Arc<dyn Limiter>, on_unavailable: OnUnavailable) -> Self {
        Self {
            server,
            limiter: Arc::new(FailOpen::new(limiter, on_unavailable)),
            on_unavailable,
            check_duration: metrics::check_duration(),
        }
    }

    /// Shows in `registry` what this gate decides: `toolgate_client_…`.
    pub fn register(&self, registry: &mut Registry) {
        metrics::register(
            registry,
            &self.limiter,
            self.on_unavailable,
            &self.check_duration,
        );
    }

    /// Pays one token of each bucket that the operation touches; an error means that it must not
    /// run. What was decided is recorded on the caller's span, see [`FailOpen`].
    ///
    /// A name that no policy can hold still pays to the limits of the server itself.
    pub(crate) async fn admit(
        &self,
        identity: &Identity,
        kind: OperationKind,
        name: &str,
    ) -> Result<(), VmcpError> {
        let check = Check {
            server: self.server.clone(),
            identity: identity.clone(),
            operation: Operation::new(kind, name).ok(),
            cost: Check::COST_OF_ONE,
            trace: None,
        };
        let asked = Instant::now();
        let verdict = self.limiter.check(check).await;
        observe(&self.check_duration, asked.elapsed());
        match verdict {
            Verdict::Allowed { .. } => Ok(()),
            Verdict::Denied(denial) => Err(VmcpError::Denied(denial)),
            Verdict::Refused => Err(VmcpError::Undecided),
        }
    }
}
