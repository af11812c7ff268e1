//! Answers to single calls hold a place among the calls until they are read.

use std::time::Duration;

use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::Instant};
use toolgate_proto::pb::PeekRequest;
use toolgate_tests::{Exposition, Limiter, eventually, of_user};

use crate::{
    frames::{
        PREFACE_WITHOUT_WINDOW, any_frame, call, closed, connect, data, message, window_update,
    },
    stage::check,
};

const GENEROUS: &str = "perUser: {maxTokens: 1000000, refillPeriod: 24h}";

const CLOSED: &str = "toolgate_connections_closed_total{reason=\"unread\"}";

/// As many calls as a connection may have.
const CALLS: u32 = 1_024;

async fn limiter(unread_timeout: &str) -> Limiter {
    let arguments = ["--connections-unread-timeout", unread_timeout];
    let limiter = Limiter::of_spec(GENEROUS, &arguments).await;
    limiter.expect("a limiter")
}

fn check_of_mallory() -> Vec<u8> {
    message(&of_user("mallory"))
}

fn peek_of_mallory() -> Vec<u8> {
    message(&PeekRequest {
        check: Some(of_user("mallory")),
    })
}

/// Makes calls of `path` whose answers find no window.
async fn attack(limiter: &Limiter, path: &str, request: &[u8], calls: u32) -> TcpStream {
    let mut attacker = connect(limiter).await;
    let mut said = PREFACE_WITHOUT_WINDOW.to_vec();
    for stream in (1..).step_by(2).take(calls as usize) {
        said.extend(call(stream, path, &[]));
        said.extend(data(stream, request));
    }
    attacker.write_all(&said).await.expect("sent");
    attacker
}

async fn metrics(limiter: &Limiter) -> Exposition {
    limiter.metrics().await.expect("metrics")
}

/// Each call keeps its place as long as its answer waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_find_no_window_from_the_start_end_their_connection() {
    let limiter = limiter("2s").await;
    for (round, (path, request)) in (1..).zip([
        ("/toolgate.v1.LimiterService/Check", check_of_mallory()),
        ("/toolgate.v1.LimiterService/Peek", peek_of_mallory()),
    ]) {
        let mut attacker = attack(&limiter, path, &request, CALLS).await;
        if round == 1 {
            eventually("its calls hold their places", async || {
                let held = metrics(&limiter).await.value("toolgate_calls_in_flight");
                (held >= u64::from(CALLS)).then_some(())
            })
            .await;
        }
        closed(&mut attacker).await;
        eventually("it is counted, and the places are free", async || {
            let exposition = metrics(&limiter).await;
            let held = exposition.value("toolgate_calls_in_flight");
            (exposition.value(CLOSED) == round && held == 0).then_some(())
        })
        .await;
    }
    let honest = limiter.client().await.expect("a connection");
    check(&honest, of_user("alice")).await.expect("decided");
}

/// A connection that took an answer now and then kept the places of all the others until it was too old.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_read_now_and_then_keeps_no_place_for_others() {
    let limiter = limiter("1s").await;
    let path = "/toolgate.v1.LimiterService/Check";
    let mut attacker = attack(&limiter, path, &check_of_mallory(), 100).await;
    let (mut reader, mut writer) = attacker.split();
    let mut read = 0;
    let answers = async {
        while let Some((kind, _, stream, _)) = any_frame(&mut reader).await {
            const DATA: u8 = 0;
            read += usize::from(kind == DATA && stream > 200);
        }
    };
    let calls = async {
        for stream in (201..).step_by(2) {
            let called = [call(stream, path, &[]), data(stream, &check_of_mallory())];
            let said = [called.concat(), window_update(stream, 16_384)].concat();
            if writer.write_all(&said).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let began = Instant::now();
    tokio::select! {
        () = answers => {}
        () = calls => {}
    }
    let lasted = began.elapsed();
    assert!(lasted < Duration::from_secs(20), "{lasted:?}");
    assert!(read > 5, "{read}: it was alive");
    assert_eq!(metrics(&limiter).await.value(CLOSED), 1);
}

/// Whoever opens its window in time is answered, on the same connection.
#[tokio::test]
async fn a_window_that_opens_late_but_in_time_is_no_fault() {
    let limiter = limiter("5s").await;
    let path = "/toolgate.v1.LimiterService/Check";
    let mut slow = attack(&limiter, path, &check_of_mallory(), 20).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    for stream in (1..).step_by(2).take(20) {
        slow.write_all(&window_update(stream, 16_384))
            .await
            .expect("open");
        crate::frames::answer(&mut slow, stream)
            .await
            .expect("decided");
    }
    assert_eq!(metrics(&limiter).await.value(CLOSED), 0);
}
