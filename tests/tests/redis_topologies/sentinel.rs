//! Fail-overs that sentinels decide on.

use tokio::time::Instant;
use toolgate_proto::pb::{Decision, PeekRequest};
use toolgate_tests::{Limiter, Load, SentinelTrio, connect, eventually, of_user};

use crate::load::{PERIOD, Tally, Told, answered, decides, limiter, load_of_alice};

/// More than is asked for before the master goes, so that what the replica does not know of counts.
const CAPACITY: usize = 3_000;

async fn limiter_of(sentinels: &SentinelTrio) -> Limiter {
    let spec = format!("perUser: {{maxTokens: {CAPACITY}, refillPeriod: {PERIOD}}}");
    let limiter = limiter(&sentinels.url(), &spec, &[]).await;
    decides(&limiter).await;
    limiter
}

/// Goes on until alice has nothing left, and holds what was admitted against the bound: what was
/// paid on the old master and not yet copied is forgotten, so at most one more capacity.
async fn within_the_bound(limiter: &Limiter, load: Load<Told>, what: &str) {
    let client = limiter.client().await.expect("a connection");
    eventually("alice has nothing left", async || {
        let check = Some(of_user("alice"));
        let reply = client.clone().peek(PeekRequest { check }).await.ok()?;
        let peeked = reply.into_inner().check?;
        (!peeked.degraded && peeked.decision() == Decision::Denied).then_some(())
    })
    .await;
    let tally = Tally::of(load.end().await);
    let over = tally.allowed.saturating_sub(CAPACITY);
    println!(
        "{what}: {} admitted of {CAPACITY}, {over} over; {} undecided: {:?}",
        tally.allowed,
        tally.undecided.len(),
        tally.reasons()
    );
    assert!(tally.allowed <= 2 * CAPACITY + 1, "{}", tally.allowed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_dies_is_replaced_and_followed() {
    let mut sentinels = SentinelTrio::start().await.expect("sentinels");
    let limiter = limiter_of(&sentinels).await;
    let load = load_of_alice(&limiter).await;
    answered(&load, 500).await;

    let died = Instant::now();
    let dead = sentinels.kill_master().await.expect("killed");
    sentinels.has_failed_over(dead).await;
    let named = died.elapsed();
    decides(&limiter).await;
    println!(
        "the sentinels named the new master after {named:?}, checks were decided after {:?}",
        died.elapsed()
    );
    within_the_bound(&limiter, load, "master killed").await;

    // The old master comes back as a replica, empty, and changes nothing.
    sentinels.server(dead).restart().await.expect("restarted");
    let reply = limiter.check(of_user("alice")).await.expect("decided");
    assert_eq!(reply.decision(), Decision::Denied);
}

/// The old master stays up and takes writes for some ten seconds, so without asking the sentinels
/// the limiter would go on with it, and all that it decided would be forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn a_fail_over_on_command_is_followed_while_the_old_master_still_writes() {
    let sentinels = SentinelTrio::start().await.expect("sentinels");
    let limiter = limiter_of(&sentinels).await;
    let load = load_of_alice(&limiter).await;
    answered(&load, 200).await;

    let old = sentinels.master_place().await.expect("a master");
    let asked = Instant::now();
    sentinels.fail_over().await.expect("begun");
    sentinels.has_failed_over(old).await;
    let named = asked.elapsed();
    eventually("the new master decides", async || {
        let master = sentinels.master().await.ok()?.url();
        let mut connection = connect(&master).await.ok()?;
        let mut info = redis::cmd("INFO");
        let stats = info.arg("commandstats").query_async(&mut connection).await;
        let stats: String = stats.ok()?;
        stats.contains("cmdstat_evalsha:").then_some(())
    })
    .await;
    println!(
        "the sentinels named the new master after {named:?}, it decided after {:?}",
        asked.elapsed()
    );
    within_the_bound(&limiter, load, "fail-over on command").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_that_know_no_such_master_are_named_as_the_reason() {
    let sentinels = SentinelTrio::start().await.expect("sentinels");
    let url = sentinels.url().replace("/buckets", "/buckeds");
    let store = crate::store::open(&url, |_| {});
    let error = crate::store::refused(&store, "nomaster").await;
    assert!(error.contains("buckeds"), "{error}");
}
