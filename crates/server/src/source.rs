//! Where the policies come from, and what keeps them up to date.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use toolgate_kube::KubernetesSource;
use toolgate_policy::{FileSource, Registry, Watch};
use toolgate_tasks::Tasks;

use crate::{Config, PolicySource, ServerError, observe::Metrics};

/// The longest time that a replica has to give back what it holds in a cluster when it stops.
const LONGEST_LEAVE: Duration = Duration::from_secs(2);

/// A source that is open.
#[derive(Debug)]
pub(crate) enum Source {
    /// Its policies are in force, and followed already.
    Files(Watch),
    /// Nobody was asked yet.
    Kubernetes(Box<KubernetesSource>),
}

/// A source that keeps the policies up to date.
#[must_use = "dropping it stops that"]
pub(crate) enum Running {
    Files(Watch),
    Kubernetes(AbortOnDropHandle<()>, CancellationToken),
}

impl Source {
    /// Reads files at once, which must be right. A cluster need not be there.
    pub(crate) async fn open(
        config: &Config,
        registry: &Arc<Registry>,
        metrics: Option<&mut Metrics>,
        tasks: &Tasks,
    ) -> Result<Self, ServerError> {
        match &config.policies {
            PolicySource::Files(paths) => {
                let files = FileSource::new(paths.clone());
                let mut files = files.allow_empty(config.allow_empty);
                files.load(registry).map_err(ServerError::Policies)?;
                let watch = files.watch(Arc::clone(registry));
                Ok(Self::Files(watch.map_err(ServerError::Watch)?))
            }
            PolicySource::Kubernetes(cluster) => {
                let source = KubernetesSource::connect(cluster.clone()).await?;
                let source = source.among(tasks.clone());
                let source = match metrics {
                    Some(metrics) => source.observed_by(metrics.kubernetes()),
                    None => source,
                };
                Ok(Self::Kubernetes(Box::new(source)))
            }
        }
    }

    /// Keeps `registry` up to date, on the current runtime.
    pub(crate) fn start(self, registry: &Arc<Registry>) -> Running {
        match self {
            Self::Files(watch) => Running::Files(watch),
            Self::Kubernetes(source) => {
                let stop = CancellationToken::new();
                let running = source.run(Arc::clone(registry), stop.clone());
                Running::Kubernetes(AbortOnDropHandle::new(tokio::spawn(running)), stop)
            }
        }
    }
}

impl Running {
    /// Ends if the source has, which it does only after a panic. Limits would grow old unnoticed.
    pub(crate) async fn ended(&mut self) {
        match self {
            Self::Files(watch) => watch.ended().await,
            Self::Kubernetes(running, _) => drop(running.await),
        }
    }

    /// Stops, and gives back what is held in a cluster, within a bound.
    pub(crate) async fn leave(self) {
        match self {
            Self::Files(watch) => drop(watch),
            Self::Kubernetes(running, _) if running.is_finished() => {}
            Self::Kubernetes(running, stop) => {
                stop.cancel();
                if timeout(LONGEST_LEAVE, running).await.is_err() {
                    tracing::warn!(after = ?LONGEST_LEAVE, "stopped without taking leave of the cluster");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_source_that_panics_has_ended() {
        let running = tokio::spawn(async { panic!("bad luck") });
        let stop = CancellationToken::new();
        let mut running = Running::Kubernetes(AbortOnDropHandle::new(running), stop);
        let ended = timeout(Duration::from_mins(1), running.ended()).await;
        assert_eq!(ended, Ok(()));
        running.leave().await;
    }
}
