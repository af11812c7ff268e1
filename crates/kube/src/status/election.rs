//! Which replica leads. One that is not sure of it any more does not.

use std::time::Duration;

use kube_lease_manager::{LeaseCreateMode, LeaseManager, LeaseManagerError, LeaseParams};
use tokio::{select, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{LEAVE, Views, cluster::Cluster, leader::Leader, message::cut};
use crate::{backoff::Backoff, watch::chain};

/// How long the lead lasts that is not renewed, in seconds: how long policies have no leader if one is
/// killed.
const SECONDS: u64 = 15;

/// How long before its end the lead is renewed, in seconds; more than a request may take.
const GRACE_SECONDS: u64 = 5;

/// The longest name of a field manager, in bytes.
const MAX_MANAGER: usize = 128;

/// Takes part until `stop`, and leads whenever this replica is elected.
pub(super) async fn run(cluster: &Cluster, views: &Views, stop: &CancellationToken) {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));
    let mut is_failing = false;
    loop {
        let manager = match stop.run_until_cancelled(manager(cluster)).await {
            None => return,
            Some(Ok(manager)) => manager,
            Some(Err(error)) => {
                tell_of(&error, &mut is_failing);
                if stop.run_until_cancelled(backoff.wait()).await.is_none() {
                    return;
                }
                continue;
            }
        };
        let in_office = async {
            loop {
                if let Err(error) = term(&manager, || Leader::new(cluster, views.clone())).await {
                    return error;
                }
                is_failing = false;
                backoff.reset();
            }
        };
        match stop.run_until_cancelled(in_office).await {
            None => {
                if let Ok(Err(error)) = timeout(LEAVE, manager.release()).await {
                    tracing::debug!(%error, "the lead is not given up, and runs out");
                }
                return;
            }
            // Whether it leads is not known: a new manager asks anew.
            Some(error) => tell_of(&error, &mut is_failing),
        }
        if stop.run_until_cancelled(backoff.wait()).await.is_none() {
            return;
        }
    }
}

async fn manager(cluster: &Cluster) -> Result<LeaseManager, LeaseManagerError> {
    let replica = &cluster.config.replica;
    let manager = format!("toolgate-lead-{replica}");
    let params = LeaseParams::new(replica, SECONDS, GRACE_SECONDS)
        // Unlike all others: by it a conflict between two candidates is found.
        .with_field_manager(cut(&manager, MAX_MANAGER));
    LeaseManager::new(
        cluster.client(),
        &cluster.config.lease_name,
        cluster.lease_namespace(),
        params,
        LeaseCreateMode::AutoCreate,
    )
    .await
}

/// Waits for the lead, and leads until it is lost.
async fn term(
    manager: &LeaseManager,
    leader: impl FnOnce() -> Leader,
) -> Result<(), LeaseManagerError> {
    while !manager.changed().await? {}
    tracing::info!("this replica leads: it writes the status of policies");
    let lost = async {
        while manager.changed().await? {}
        Ok(())
    };
    let ended = select! {
        ended = lost => ended,
        never = leader().lead() => match never {},
    };
    tracing::info!("this replica does not lead any more");
    ended
}

fn tell_of(error: &LeaseManagerError, is_failing: &mut bool) {
    let reason = chain(error);
    if *is_failing {
        tracing::debug!(reason, "this replica cannot take part in the election");
    } else {
        tracing::warn!(reason, "this replica cannot take part in the election");
    }
    *is_failing = true;
}
