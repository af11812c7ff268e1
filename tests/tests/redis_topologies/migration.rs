//! Slots that move from node to node while they are asked for.

use toolgate_proto::pb::{CheckRequest, PeekRequest};
use toolgate_tests::{Limiter, RedisCluster, eventually, manifest, of_user};

use crate::load::{PERIOD, Tally, answered, limiter_with, load};

/// Callers spend of this many; far more than they come to, and so few that none refills meanwhile.
const CAPACITY: u32 = 50_000;

/// Users among whom callers take turns.
const USERS: usize = 40;

/// A server whose checks touch one key each, and one whose checks touch two.
fn policies() -> String {
    let quota = format!("{{maxTokens: {CAPACITY}, refillPeriod: {PERIOD}}}");
    let single = manifest("single", &format!("perUser: {quota}"));
    let pair = manifest("pair", &format!("global: {quota}, perUser: {quota}"));
    format!("{single}---\n{pair}")
}

fn of(server: &str, user: usize) -> CheckRequest {
    CheckRequest {
        server: format!("test/{server}"),
        ..of_user(&format!("user-{user}"))
    }
}

/// What all users have paid, by what is left in their own buckets.
async fn paid(limiter: &Limiter, server: &str) -> usize {
    let mut client = limiter.client().await.expect("a connection");
    let mut paid = 0;
    for user in 0..USERS {
        let check = Some(of(server, user));
        let reply = client.peek(PeekRequest { check }).await.expect("peeked");
        let peeked = reply.into_inner().check.expect("a check");
        let own = peeked.buckets.last().expect("a bucket of the user");
        paid += (CAPACITY - own.remaining) as usize;
    }
    paid
}

/// Moves the slot of `server` from node to node under load. What was paid is what was allowed, to
/// the token: no check is lost, and none is paid twice.
async fn moves_under_load(server: &'static str) -> Tally {
    let cluster = RedisCluster::start().await.expect("a cluster");
    let (_policies, limiter) = limiter_with(&cluster.url(), &policies(), &[]).await;
    eventually("the cluster decides", async || {
        limiter.check(of(server, USERS)).await.ok()
    })
    .await;
    let load = load(&limiter, move |number| of(server, number % USERS)).await;
    answered(&load, 100).await;

    let slot = cluster.slot(&format!("tg:{{test/{server}}}:x")).await;
    let slot = slot.expect("a slot");
    let first = cluster.owner(slot).await.expect("a node");
    for round in 1..=6 {
        let from = cluster.owner(slot).await.expect("a node");
        let to = (first + round) % cluster.len();
        cluster
            .begin_migration(slot, from, to)
            .await
            .expect("begun");
        answered(&load, 50).await;
        // Key by key, so that callers meet every state there is.
        while cluster
            .migrate_some(slot, from, to, 4)
            .await
            .expect("moved")
            > 0
        {
            answered(&load, 10).await;
        }
        answered(&load, 50).await;
        cluster.end_migration(slot, from, to).await.expect("ended");
        answered(&load, 50).await;
        eventually("the first node knows", async || {
            (cluster.owner(slot).await.ok()? == to).then_some(())
        })
        .await;
    }
    let tally = Tally::of(load.end().await);
    println!(
        "{server}: 6 moves, {} allowed, {} undecided: {:?}",
        tally.allowed,
        tally.undecided.len(),
        tally.reasons()
    );
    assert_eq!(tally.denied, 0);
    assert_eq!(paid(&limiter, server).await, tally.allowed);
    tally
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_of_one_key_do_not_notice_that_it_moves() {
    let tally = moves_under_load("single").await;
    assert_eq!(tally.undecided, Vec::<String>::new());
}

/// While one key of a check has moved and the other has not, no node can decide it.
#[tokio::test(flavor = "multi_thread")]
async fn checks_of_two_keys_are_undecided_only_while_the_two_are_apart() {
    let tally = moves_under_load("pair").await;
    for reason in tally.reasons() {
        assert!(reason.contains("TRYAGAIN"), "{reason}");
    }
}
