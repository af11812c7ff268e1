//! Which process this is.

use toolgate_limit::Timestamp;

/// One limiter process, from its start to its end.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    /// No other process has it, not even the same one after a restart.
    pub(crate) id: String,
    /// The host, which on Kubernetes is the pod.
    pub(crate) name: String,
    pub(crate) started_at: Timestamp,
}

impl Replica {
    /// This process, which starts `now`.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            id: format!("{:032x}", fastrand::u128(..)),
            name: host_name(),
            started_at: now,
        }
    }
}

fn host_name() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
