//! What is logged: changes of state, once, and never who called or for which resource.

use serde_json::{Value, json};
use tokio::time::timeout;
use toolgate_tests::{Limiter, PATIENCE, RedisServer, eventually, of_user};

use crate::{gateway::Gateway, issuer::Issuer};

const SUBJECT: &str = "alice-the-subject";
const LISTED: &str = "file:///greeting";
const UNLISTED: &str = "file:///nobody-has-this";

const ONE_EACH: &str = "perUser: {maxTokens: 1000, refillPeriod: 24h}, \
     tools: [{name: a_echo, perUser: {maxTokens: 1, refillPeriod: 24h}}]";

async fn logged(limiter: &Limiter, text: &str, times: usize) {
    eventually(text, async || {
        let log = limiter.log().ok()?;
        (log.matches(text).count() >= times).then_some(())
    })
    .await;
}

/// A busy machine is no outage.
const PATIENT: [&str; 2] = ["--store-timeout", "20s"];

/// Each worker, and what probes beside them, logged each outage.
#[tokio::test]
async fn an_outage_of_redis_is_logged_once_however_many_connections_it_takes_down() {
    let mut redis = RedisServer::start().await.expect("Redis");
    let store = redis.url();
    let arguments = ["--store", &store, "--workers", "4", PATIENT[0], PATIENT[1]];
    let limiter = Limiter::of_spec(ONE_EACH, arguments).await;
    let limiter = limiter.expect("a limiter");
    logged(&limiter, "connected to Redis", 1).await;
    for outages in 1..=2 {
        redis.kill().await.expect("killed");
        logged(&limiter, "degraded: the store does not decide", outages).await;
        logged(&limiter, "Redis does not decide", outages).await;
        redis.restart().await.expect("restarted");
        // Each worker's connection is asked before that is said.
        logged(&limiter, "recovered: the store decides again", outages).await;
        logged(&limiter, "connected to Redis", outages + 1).await;
    }
    let log = limiter.log().expect("a log");
    for text in [
        "Redis does not decide",
        "degraded: the store does not decide",
    ] {
        assert_eq!(log.matches(text).count(), 2, "{log}");
    }
}

#[tokio::test]
async fn denials_errors_and_outages_leave_no_subject_and_no_uri_in_the_logs() {
    let mut redis = RedisServer::start().await.expect("Redis");
    let issuer = Issuer::start().await;
    let store = redis.url();
    let limiter = Limiter::of_spec(ONE_EACH, ["--store", &store, PATIENT[0], PATIENT[1]]).await;
    let limiter = limiter.expect("a limiter");
    let rest = format!(
        "incomingAuth: {{type: oidc, oidc: {{issuer: '{}', audience: vmcp}}}}
limiter: {{endpoint: '{}', timeout: 30s}}",
        issuer.url,
        limiter.endpoint()
    );
    let gateway = Gateway::start_for(&rest, &[]).await;
    let token = format!("Bearer {}", issuer.token(SUBJECT));
    let headers = [("authorization", token.as_str())];
    let ask = async |method: &str, params: Value| {
        let answer = gateway.ask(method, &params, &headers).await;
        answer.text().await.expect("text")
    };
    let read = async |uri: &str| ask("resources/read", json!({"uri": uri})).await;
    let echo = json!({"name": "a_echo", "arguments": {}});
    eventually("the backend is there", async || {
        read(LISTED).await.contains("contents").then_some(())
    })
    .await;
    // Allowed, denied, unknown, invalid; by the gateway, and past it.
    ask("tools/call", echo.clone()).await;
    assert!(ask("tools/call", echo.clone()).await.contains("-32029"));
    assert!(read(UNLISTED).await.contains("error"));
    assert!(read(&"x".repeat(2_000)).await.contains("error"));
    let mut client = limiter.client().await.expect("a connection");
    let too_long = of_user(&SUBJECT.repeat(200));
    client.check(too_long).await.expect_err("invalid");

    redis.kill().await.expect("killed");
    logged(&limiter, "degraded", 1).await;
    ask("tools/call", echo.clone()).await;
    read(LISTED).await;
    redis.restart().await.expect("restarted");
    logged(&limiter, "recovered", 1).await;
    // What lies in Redis under the user's key is no hash.
    let key = format!("tg:{{test/server}}:user:{SUBJECT}");
    redis.flush().await.expect("flushed");
    redis.command(&["SET", &key, "x"]).await.expect("set");
    let broken = timeout(PATIENCE, client.check(of_user(SUBJECT))).await;
    let _ = broken.expect("in time");
    ask("tools/call", echo.clone()).await;

    let of_limiter = limiter.log().expect("a log");
    drop(limiter);
    eventually("the gateway fails open", async || {
        ask("tools/call", echo.clone()).await;
        gateway
            .log()
            .contains("no decision from the limiter")
            .then_some(())
    })
    .await;
    read(LISTED).await;
    let of_gateway = gateway.stop().await;
    for (name, log) in [("limiter", of_limiter), ("gateway", of_gateway)] {
        for private in [SUBJECT, LISTED, UNLISTED, "xxxxxxxx"] {
            assert!(!log.contains(private), "{private} of the {name}: {log}");
        }
        for line in log.lines() {
            let event: Value = serde_json::from_str(line).expect("JSON, line by line");
            assert!(event["level"].is_string(), "{line}");
        }
    }
}
