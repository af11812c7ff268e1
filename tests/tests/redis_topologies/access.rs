//! ACL users with just enough rights, and passwords that change.

use std::sync::atomic::{AtomicUsize, Ordering};

use redis::{aio::MultiplexedConnection, cmd};
use toolgate_limit::BucketStore as _;
use toolgate_redis::RedisStore;
use toolgate_tests::{
    RedisCluster, RedisServer, SentinelOptions, SentinelTrio, connect, eventually,
};

use crate::{
    load::{PERIOD, Tally, answered, decides, limiter, load_of_alice},
    store::{open, plan, refused, take_of},
};

/// What docs/redis.md tells operators to grant, for one server.
pub(crate) const RULE: &str = "resetkeys resetchannels -@all ~tg:* +evalsha +eval +time +hmget +hset +hdel \
                    +pttl +pexpire +multi +exec";

/// What a cluster needs on top of it, and what the servers behind sentinels do.
pub(crate) const OF_CLUSTER: &str = "+cluster|slots +asking";
const OF_SENTINEL: &str = "+role";

/// What a sentinel's own user needs.
const OF_SENTINELS: &str =
    "resetkeys resetchannels -@all +sentinel|get-master-addr-by-name +sentinel|master";

#[test]
fn the_rules_are_those_of_the_documentation() {
    let page = include_str!("../../../docs/redis.md");
    let page = page.replace('\n', " ");
    for rule in [RULE, OF_CLUSTER, OF_SENTINEL, OF_SENTINELS] {
        assert!(page.contains(rule), "{rule}");
    }
}

pub(crate) async fn set_user(connection: &mut MultiplexedConnection, rule: &str) {
    let mut command = cmd("ACL");
    command.arg("SETUSER").arg("toolgate");
    command.arg(rule.split_whitespace().collect::<Vec<_>>());
    command.exec_async(connection).await.expect("a rule");
}

pub(crate) fn login(url: &str, keys: &str) -> RedisStore {
    open(url, |config| {
        config.key_prefix = keys.parse().expect("a valid prefix");
        config.login.username = Some("toolgate".to_owned());
        config.login.password = Some("hunter2".to_owned());
    })
}

/// All that a limiter does with its store; the class of the first error.
pub(crate) async fn everything(store: &RedisStore) -> Result<(), &'static str> {
    // A server that nobody has asked for, so that its keys are new.
    static SERVERS: AtomicUsize = AtomicUsize::new(0);
    let plan = plan(&format!(
        "server-{}",
        SERVERS.fetch_add(1, Ordering::Relaxed)
    ));
    let all = async {
        take_of(store, plan.clone()).await?;
        store.peek(plan.clone()).await?;
        store.reset(plan).await?;
        store.ping().await
    };
    all.await.map_err(|error| error.kind())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_the_documented_rights_can_do_everything_and_with_fewer_not() {
    let redis = RedisServer::start().await.expect("Redis");
    let mut admin = connect(&redis.url()).await.expect("a connection");
    set_user(&mut admin, &format!("on >hunter2 {RULE}")).await;
    let store = login(&redis.url(), "tg");
    eventually("all is allowed", async || everything(&store).await.ok()).await;
    for right in RULE
        .split_whitespace()
        .filter(|right| right.starts_with('+'))
    {
        let without = right.replace('+', "-");
        set_user(&mut admin, &without).await;
        // A script that is known is not sent again.
        let mut flush = cmd("SCRIPT");
        flush
            .arg("FLUSH")
            .exec_async(&mut admin)
            .await
            .expect("flushed");
        assert_eq!(everything(&store).await, Err("noperm"), "without {right}");
        set_user(&mut admin, right).await;
    }
    set_user(&mut admin, "resetkeys ~others:*").await;
    assert_eq!(everything(&store).await, Err("noperm"), "without its keys");
    let error = refused(&store, "noperm").await;
    assert!(
        error.contains("NOPERM") && error.contains("docs/redis.md"),
        "{error}"
    );
    set_user(&mut admin, "resetkeys ~tg:*").await;
    assert_eq!(everything(&store).await, Ok(()), "the connection was kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_a_cluster_needs_a_little_more() {
    let cluster = RedisCluster::start().await.expect("a cluster");
    for node in 0..cluster.len() {
        let mut admin = cluster.connection(node).await.expect("a connection");
        set_user(&mut admin, &format!("on >hunter2 {RULE} {OF_CLUSTER}")).await;
    }
    let store = login(&cluster.url(), "tg");
    eventually("all is allowed", async || everything(&store).await.ok()).await;
    for node in 0..cluster.len() {
        let mut admin = cluster.connection(node).await.expect("a connection");
        set_user(&mut admin, "-cluster").await;
    }
    refused(&login(&cluster.url(), "tg"), "noperm").await;

    // On a slot that moves, checks of keys that are new ask on the other node.
    let slot = cluster
        .slot("tg:{test/moving}:global")
        .await
        .expect("a slot");
    let from = cluster.owner(slot).await.expect("a node");
    let to = (from + 1) % cluster.len();
    cluster
        .begin_migration(slot, from, to)
        .await
        .expect("begun");
    let peeked = store.peek(plan("moving")).await;
    let error = peeked.expect_err("two keys, of which none is there");
    assert_eq!(error.kind(), "tryagain");
    assert!(!error.is_outage(), "all others are decided");
    cluster.end_migration(slot, from, to).await.expect("ended");
    take_of(&store, plan("moving")).await.expect("decided");
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_and_servers_have_users_of_their_own() {
    let user = |rule: &str| format!("toolgate on >hunter2 {rule}");
    let of_servers = user(&format!("{RULE} {OF_SENTINEL}"));
    let mut server_arguments = vec!["--user".to_owned()];
    server_arguments.extend(of_servers.split_whitespace().map(str::to_owned));
    let options = SentinelOptions {
        server_arguments,
        sentinel_lines: vec![format!("user {}", user(OF_SENTINELS))],
        sentinel_login: None,
    };
    let sentinels = SentinelTrio::start_with(&options).await.expect("sentinels");
    let store = open(&sentinels.url_of("redis", "toolgate:hunter2@"), |config| {
        config.sentinel.login.username = Some("toolgate".to_owned());
        config.sentinel.login.password = Some("hunter2".to_owned());
    });
    eventually("all is allowed", async || everything(&store).await.ok()).await;
}

/// The old password ends, its connections with it, and the new one is in the file before: checks
/// fail while the limiter connects again, and none for its password.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_file_may_change_under_load() {
    let redis = RedisServer::start().await.expect("Redis");
    let mut admin = connect(&redis.url()).await.expect("a connection");
    set_user(&mut admin, &format!("on >first {RULE}")).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("password");
    std::fs::write(&file, "first\n").expect("written");
    let path = file.display().to_string();
    let login = [
        "--redis-username",
        "toolgate",
        "--redis-password-file",
        &path,
    ];
    let spec = format!("perUser: {{maxTokens: 1000000, refillPeriod: {PERIOD}}}");
    let limiter = limiter(&redis.url(), &spec, &login).await;
    decides(&limiter).await;
    let load = load_of_alice(&limiter).await;
    answered(&load, 200).await;
    for (old, new) in [
        ("first", "second"),
        ("second", "third"),
        ("third", "fourth"),
    ] {
        set_user(&mut admin, &format!(">{new}")).await;
        std::fs::write(&file, new).expect("written");
        set_user(&mut admin, &format!("<{old}")).await;
        let mut kill = cmd("CLIENT");
        kill.arg("KILL").arg("USER").arg("toolgate");
        kill.exec_async(&mut admin).await.expect("killed");
        decides(&limiter).await;
        answered(&load, 200).await;
    }
    let tally = Tally::of(load.end().await);
    println!(
        "{} allowed, {} undecided: {:?}",
        tally.allowed,
        tally.undecided.len(),
        tally.reasons()
    );
    assert!(tally.allowed >= 400, "{}", tally.allowed);
    for reason in tally.reasons() {
        assert!(
            !reason.contains("WRONGPASS") && !reason.contains("NOAUTH"),
            "{reason}"
        );
        assert!(!reason.contains("password"), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_file_that_is_not_there_yet_is_waited_for() {
    let redis = RedisServer::start().await.expect("Redis");
    let mut admin = connect(&redis.url()).await.expect("a connection");
    set_user(&mut admin, &format!("on >hunter2 {RULE}")).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("password");
    let store = open(&redis.url(), |config| {
        config.login.username = Some("toolgate".to_owned());
        config.login.password_file = Some(file.clone());
    });
    let error = refused(&store, "configuration").await;
    assert!(
        error.contains("passwordFile") && error.contains("password"),
        "{error}"
    );
    std::fs::write(&file, "wrong").expect("written");
    refused(&store, "wrongpass").await;
    std::fs::write(&file, "hunter2").expect("written");
    crate::store::decides(&store).await;
}
