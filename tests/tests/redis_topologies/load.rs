//! Callers who go on asking a limiter, and what they were told.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use toolgate_proto::pb::{CheckRequest, Decision};
use toolgate_tests::{Limiter, Load, PolicyFile, eventually, manifest, of_user};

/// So many callers at a time.
const CALLERS: usize = 8;

/// Nothing worth speaking of refills while a test runs.
pub(crate) const PERIOD: &str = "8784h";

/// What a caller was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Allowed,
    Denied,
    /// The store did not decide; why, if it was an error.
    Undecided(String),
}

/// What all callers were told.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) allowed: usize,
    pub(crate) denied: usize,
    pub(crate) undecided: Vec<String>,
}

impl Tally {
    pub(crate) fn of(told: impl IntoIterator<Item = Told>) -> Self {
        let mut tally = Self::default();
        for told in told {
            match told {
                Told::Allowed => tally.allowed += 1,
                Told::Denied => tally.denied += 1,
                Told::Undecided(why) => tally.undecided.push(why),
            }
        }
        tally
    }

    /// The different reasons for which checks were not decided.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let mut reasons = self.undecided.clone();
        reasons.sort();
        reasons.dedup();
        reasons
    }
}

/// A limiter on `store` with the policy of `test/server`.
pub(crate) async fn limiter(store: &str, spec: &str, more: &[&str]) -> Limiter {
    let policies = manifest("server", spec);
    limiter_with(store, &policies, more).await.1
}

/// A limiter with `policies`, whose file is returned too.
pub(crate) async fn limiter_with(
    store: &str,
    policies: &str,
    more: &[&str],
) -> (PolicyFile, Limiter) {
    let policies = PolicyFile::new(policies).expect("a file");
    // What the store does not decide is told, and why.
    let mut arguments = vec!["--store", store, "--outage", "unavailable"];
    if !more.contains(&"--store-timeout") {
        // A debug build on a busy machine is slow; what is shown here is not how fast it is.
        arguments.extend(["--store-timeout", "2s"]);
    }
    arguments.extend(more);
    let limiter = Limiter::start(&policies.path(), arguments).await;
    (policies, limiter.expect("a limiter"))
}

/// Callers who ask for `request` of their count, until they are told to end.
pub(crate) async fn load(
    limiter: &Limiter,
    request: impl Fn(usize) -> CheckRequest + Clone + Send + Sync + 'static,
) -> Load<Told> {
    let client = limiter.client().await.expect("a connection");
    let count = Arc::new(AtomicUsize::new(0));
    Load::start(CALLERS, move || {
        let (mut client, request, count) = (client.clone(), request.clone(), Arc::clone(&count));
        async move {
            let number = count.fetch_add(1, Ordering::Relaxed);
            match client.check(request(number)).await {
                Ok(reply) if reply.get_ref().degraded => Told::Undecided("degraded".to_owned()),
                Ok(reply) if reply.get_ref().decision() == Decision::Allowed => Told::Allowed,
                Ok(_) => Told::Denied,
                Err(status) => Told::Undecided(status.message().to_owned()),
            }
        }
    })
}

/// Callers of one user.
pub(crate) async fn load_of_alice(limiter: &Limiter) -> Load<Told> {
    load(limiter, |_| of_user("alice")).await
}

/// Waits until `load` was answered `more` times.
pub(crate) async fn answered(load: &Load<Told>, more: usize) {
    let until = load.answers() + more;
    eventually("callers are answered", async || {
        (load.answers() >= until).then_some(())
    })
    .await;
}

/// Waits until the limiter's store decides one check of a user of its own.
pub(crate) async fn decides(limiter: &Limiter) {
    eventually("checks are decided", async || {
        let reply = limiter.check(of_user("nobody")).await.ok()?;
        (!reply.degraded).then_some(())
    })
    .await;
}
