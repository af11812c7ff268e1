//! A limiter that may not decide alone: Redis is absent, dies, stalls and comes back; the limiter
//! lives, says within its deadline that it decides nothing, and recovers by itself.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use toolgate_proto::pb::{CheckStreamRequest, Decision, check_stream_response::Result as Outcome};
use toolgate_tests::{Limiter, RedisServer, eventually, of_user};

use crate::stage::get;

const SPEC: &str = "perUser: {maxTokens: 1000, refillPeriod: 24h}";

async fn limiter_on(redis: &RedisServer, timeout: &str) -> Limiter {
    let store = redis.url();
    let mut arguments = vec!["--store", &store, "--store-timeout", timeout];
    arguments.extend(["--outage", "unavailable"]);
    let limiter = Limiter::of_spec(SPEC, arguments).await;
    limiter.expect("a limiter")
}

async fn check(limiter: &Limiter) -> Result<Decision, Status> {
    let mut client = limiter.client().await.expect("the limiter lives");
    let reply = client.check(of_user("alice")).await?;
    Ok(reply.into_inner().decision())
}

fn reason(status: &Status) -> String {
    let details = status.get_details_error_info().expect("an ErrorInfo");
    assert_eq!(details.domain, "toolgate.dev");
    details.reason
}

async fn recovers(limiter: &Limiter) {
    let decision = eventually("checks are decided again", async || {
        check(limiter).await.ok()
    })
    .await;
    assert_eq!(decision, Decision::Allowed);
    eventually("the limiter is ready", async || {
        is_ready(limiter).await.then_some(())
    })
    .await;
}

async fn is_ready(limiter: &Limiter) -> bool {
    get(limiter, "/readyz").await.0 == 200
}

#[tokio::test]
async fn a_limiter_starts_without_redis_and_recovers_when_it_comes() {
    let mut redis = RedisServer::start().await.expect("Redis");
    redis.kill().await.expect("killed");
    let limiter = limiter_on(&redis, "2s").await;
    let status = check(&limiter).await.expect_err("there is no Redis");
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reason(&status), "STORE_UNAVAILABLE");
    assert_eq!(get(&limiter, "/livez").await.0, 200);
    assert_eq!(get(&limiter, "/readyz").await.0, 503);

    redis.restart().await.expect("restarted");
    recovers(&limiter).await;
}

#[tokio::test]
async fn a_redis_that_dies_costs_errors_and_no_waiting_and_is_found_again() {
    let mut redis = RedisServer::start().await.expect("Redis");
    let limiter = limiter_on(&redis, "2s").await;
    assert_eq!(
        check(&limiter).await.expect("Redis is there"),
        Decision::Allowed
    );
    for _outage in 0..2 {
        redis.kill().await.expect("killed");
        let status = eventually("checks fail", async || check(&limiter).await.err()).await;
        assert_eq!(status.code(), Code::Unavailable);
        // The script is gone with the old process; the new one is sent it again.
        redis.restart().await.expect("restarted");
        recovers(&limiter).await;
    }
}

/// A stopped Redis accepts bytes and answers nothing: only a deadline helps.
#[tokio::test]
async fn a_redis_that_stalls_is_waited_for_no_longer_than_the_deadline() {
    let mut redis = RedisServer::start().await.expect("Redis");
    let limiter = limiter_on(&redis, "200ms").await;
    recovers(&limiter).await;

    redis.signal(Signal::SIGSTOP).expect("stopped");
    for _ in 0..5 {
        #[allow(clippy::disallowed_methods, reason = "real time is what is measured")]
        let asked = Instant::now();
        let status = check(&limiter).await.expect_err("Redis is stopped");
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        // Far above the deadline, for a busy machine, and far below any default of TCP.
        assert!(
            asked.elapsed() < Duration::from_secs(5),
            "{:?}",
            asked.elapsed()
        );
    }
    redis.signal(Signal::SIGCONT).expect("continued");
    recovers(&limiter).await;
}

#[tokio::test]
async fn on_a_stream_an_outage_fails_checks_and_not_the_stream() {
    let mut redis = RedisServer::start().await.expect("Redis");
    let limiter = limiter_on(&redis, "2s").await;
    let mut client = limiter.client().await.expect("a connection");
    let (requests, checks) = tokio::sync::mpsc::channel(1);
    let checks = tokio_stream::wrappers::ReceiverStream::new(checks);
    let reply = client.check_stream(checks).await.expect("a stream");
    let replies = tokio::sync::Mutex::new(reply.into_inner());
    let ask = async |id| {
        let check = CheckStreamRequest {
            id,
            check: Some(of_user("alice")),
            timeout: None,
            ..CheckStreamRequest::default()
        };
        requests.send(check).await.expect("the stream goes on");
        let reply = replies
            .lock()
            .await
            .message()
            .await
            .expect("the stream goes on");
        let reply = reply.expect("the stream has not ended");
        assert_eq!(reply.id, id);
        reply.result.expect("a result")
    };
    let decided = |outcome: &Outcome| matches!(outcome, Outcome::Response(_));
    assert!(decided(&ask(1).await));
    redis.kill().await.expect("killed");
    let error = eventually("checks fail", async || match ask(2).await {
        Outcome::Error(error) => Some(error),
        Outcome::Response(_) => None,
    })
    .await;
    assert_eq!(error.code, i32::from(Code::Unavailable));
    // ErrorInfo and RequestInfo.
    assert_eq!(
        error.details.len(),
        2,
        "the error says why, and which it is"
    );
    redis.restart().await.expect("restarted");
    eventually("checks are decided", async || {
        decided(&ask(3).await).then_some(())
    })
    .await;
}

/// Somebody else's value under our key fails the checks that touch it and no others, even of the
/// same batch, and is never mended into a fresh bucket.
#[tokio::test]
async fn a_value_that_is_no_bucket_fails_its_own_checks_alone() {
    let redis = RedisServer::start().await.expect("Redis");
    let limiter = limiter_on(&redis, "20s").await;
    assert_eq!(
        check(&limiter).await.expect("a decision"),
        Decision::Allowed
    );
    let mut connection = redis.connection().await.expect("a connection");
    let garbage: [&[u8]; 5] = [
        b"",
        b"short",
        &[0; 27],
        &[0xff; 27],
        b"something that is longer than any bucket",
    ];
    let key = "tg:{test/server}:user:alice";
    let mut hset = redis::cmd("HSET");
    let mut set = redis::cmd("SET");
    let mut damage: Vec<_> = garbage
        .map(|value| hset.clone().arg(key).arg("server").arg(value).take())
        .into();
    // At last the key is no hash at all.
    damage.push(set.arg(key).arg("text").take());
    hset.take();
    for damage in damage {
        damage.exec_async(&mut connection).await.expect("damaged");
        let before: Vec<u8> = dump(&mut connection, key).await;
        // All at once, so that they share batches.
        let mut asked = Vec::new();
        for number in 0..200 {
            let user = if number % 4 == 0 { "alice" } else { "bob" };
            let mut client = limiter.client().await.expect("a connection");
            asked.push(tokio::spawn(async move {
                (user, client.check(of_user(user)).await)
            }));
        }
        for asked in asked {
            match asked.await.expect("no panic") {
                ("alice", reply) => {
                    let status = reply.expect_err("the bucket cannot be read");
                    assert_eq!(status.code(), Code::Internal, "{status}");
                    assert_eq!(reason(&status), "STORE_CORRUPT");
                    assert!(!status.message().contains("alice"), "{status}");
                }
                (_, reply) => {
                    let decision = reply.expect("bob is not concerned").into_inner().decision();
                    assert_eq!(decision, Decision::Allowed);
                }
            }
        }
        assert_eq!(
            dump(&mut connection, key).await,
            before,
            "nothing was written"
        );
    }
}

async fn dump(connection: &mut redis::aio::MultiplexedConnection, key: &str) -> Vec<u8> {
    let dumped = redis::cmd("DUMP").arg(key).query_async(connection).await;
    dumped.expect("the key is there")
}

/// After a fail-over the old master is a replica: it takes connections and refuses checks.
#[tokio::test]
async fn a_redis_that_only_reads_is_not_reconnected_to_without_pause() {
    let redis = RedisServer::start().await.expect("Redis");
    let limiter = limiter_on(&redis, "2s").await;
    recovers(&limiter).await;
    let mut connection = redis.connection().await.expect("a connection");
    let replica_of = async |connection: &mut _, host: &str, port: &str| {
        let mut command = redis::cmd("REPLICAOF");
        let done = command.arg(host).arg(port).exec_async(connection).await;
        done.expect("done");
    };
    replica_of(&mut connection, "127.0.0.1", "1").await;
    let received = connections_received(&mut connection).await;
    let mut client = limiter.client().await.expect("a connection");
    for _ in 0..500 {
        let status = client
            .check(of_user("alice"))
            .await
            .expect_err("only reads");
        assert_eq!(status.code(), Code::Unavailable, "{status}");
    }
    let opened = connections_received(&mut connection).await - received;
    assert!(opened < 50, "{opened} connections for 500 checks");
    let told = limiter
        .log()
        .expect("a log")
        .matches("Redis does not decide")
        .count();
    assert!(told <= 2, "told {told} times");
    replica_of(&mut connection, "NO", "ONE").await;
    recovers(&limiter).await;
}

async fn connections_received(connection: &mut redis::aio::MultiplexedConnection) -> u64 {
    let mut command = redis::cmd("INFO");
    let stats: String = command
        .arg("stats")
        .query_async(connection)
        .await
        .expect("stats");
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix("total_connections_received:"));
    line.expect("a count").trim().parse().expect("a number")
}

/// More checks than a slow Redis can decide: those that are sent are answered in time, the others
/// are refused at once. They were once all sent, paid, and answered too late.
#[tokio::test(flavor = "multi_thread")]
async fn under_overload_what_is_paid_is_answered() {
    let may_sleep = ["--enable-debug-command", "yes"];
    let redis = RedisServer::start_with(&may_sleep, None)
        .await
        .expect("Redis");
    // What is sent has waited half of that at most, and has the other half: on a busy machine too.
    let limiter = limiter_on(&redis, "4s").await;
    recovers(&limiter).await;

    // A second client makes every batch take some 100 ms.
    let mut busy = redis.connection().await.expect("a connection");
    let hog = tokio::spawn(async move {
        let mut sleep = redis::cmd("DEBUG");
        sleep.arg("SLEEP").arg("0.1");
        while sleep.exec_async(&mut busy).await.is_ok() {}
    });
    let mut client = limiter.client().await.expect("a connection");
    let requests = (0..8_000).map(|id| CheckStreamRequest {
        id,
        check: Some(of_user(&format!("user-{id}"))),
        timeout: None,
        ..CheckStreamRequest::default()
    });
    let mut open = Vec::new();
    for requests in requests.collect::<Vec<_>>().chunks(1_000) {
        let requests = futures::stream::iter(requests.to_vec());
        open.push(
            client
                .check_stream(requests)
                .await
                .expect("a stream")
                .into_inner(),
        );
    }
    let (mut answered, mut refused) = (0, 0);
    for mut replies in open {
        while let Some(reply) = replies.message().await.expect("the stream goes on") {
            match reply.result.expect("a result") {
                Outcome::Response(_) => answered += 1,
                Outcome::Error(error) => {
                    assert_eq!(error.code, i32::from(Code::ResourceExhausted), "{error:?}");
                    refused += 1;
                }
            }
        }
    }
    hog.abort();
    assert_eq!(answered + refused, 8_000);
    assert!(refused > 0, "there was no overload");
    let mut connection = redis.connection().await.expect("a connection");
    let mut keys = redis::cmd("KEYS");
    let paid = keys.arg("tg:*user-*").query_async(&mut connection).await;
    let paid: Vec<String> = paid.expect("keys");
    assert_eq!(
        paid.len(),
        answered,
        "of those who have paid each was answered"
    );
}

/// Old scripts are lost when an operator flushes them.
#[tokio::test]
async fn a_flushed_script_is_loaded_again() {
    let redis = RedisServer::start().await.expect("Redis");
    let limiter = limiter_on(&redis, "20s").await;
    let mut connection = redis.connection().await.expect("a connection");
    for _ in 0..3 {
        assert_eq!(
            check(&limiter).await.expect("a decision"),
            Decision::Allowed
        );
        redis::cmd("SCRIPT")
            .arg("FLUSH")
            .exec_async(&mut connection)
            .await
            .expect("flushed");
    }
}
