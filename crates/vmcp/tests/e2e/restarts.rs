//! The table of `docs/failures.md`: what calls see of a backend that restarts, loses its session, answers
//! oddly, late or not at all. `--nocapture` shows it.

use std::process::Command;

use rmcp::model::CallToolRequestParams;
use tokio::time::{Duration, Instant, sleep, timeout};
use toolgate_limit::Identity;
use vmcp::{Vmcp, VmcpError, core::Core};

use crate::{
    backend::{HttpBackend, over_http, url},
    child::{Log, SERVER},
    odd::OddBackend,
    raw::{Raw, RawBackend},
    sessions::{ANSWERED, JSON, REFUSED},
    wait::{core_of, settled, until},
};

/// More than any restart here takes, and less than the waits between attempts come to.
const SOON: Duration = Duration::from_secs(15);

async fn call(core: &Core) -> Result<(), VmcpError> {
    let call = CallToolRequestParams::new("a_echo");
    core.call_tool(&Identity::anonymous(), call).await.map(drop)
}

/// Calls one after the other until one is good, and says how many were not and how long it took.
async fn until_good(core: &Core, what: &str) -> (usize, Duration) {
    let since = Instant::now();
    let mut failed = Vec::new();
    let good = async {
        while let Err(error) = call(core).await {
            failed.push(error.to_string());
            sleep(Duration::from_millis(1)).await;
        }
    };
    let good = timeout(Duration::from_secs(30), good).await;
    good.unwrap_or_else(|_| panic!("{what}: no call is good again"));
    let (count, took) = (failed.len(), since.elapsed());
    println!("| {what} | {count} | {took:.0?} | {} |", failed.join(", "));
    (count, took)
}

fn kill(process: &str) {
    let killed = Command::new("kill").args(["-9", process]).status();
    assert!(killed.unwrap().success());
}

#[tokio::test]
async fn a_lost_session_costs_one_call_at_most() {
    for (lost, most) in REFUSED
        .map(|lost| (lost, 0))
        .into_iter()
        .chain(ANSWERED.map(|lost| (lost, 1)))
    {
        let backend = RawBackend::start().await;
        let core = core_of(backend.address).await;
        for _ in 0..2 {
            backend.restart(lost);
            let Raw(status, _, body) = lost;
            let what = format!("its session is lost: {status} {body}");
            let (failed, took) = until_good(&core, &what.replace('\n', " ")).await;
            assert_eq!(failed, most, "{what}");
            assert!(took < SOON, "{what}: {took:?}");
        }
    }
}

/// Each call failed until the next attempt to connect, which was not at once.
#[tokio::test]
async fn a_backend_that_restarts_while_it_is_called_costs_one_call_at_most() {
    let mut backend = HttpBackend::start().await;
    let address = backend.address;
    let mut settings = over_http("a", backend.url());
    settings.timing.first_backoff = Duration::from_millis(500);
    let core = Core::start(vec![settings]);
    settled(&core).await;
    for away in [0, 300, 1_500] {
        call(&core).await.unwrap();
        drop(backend);
        let back = async {
            sleep(Duration::from_millis(away)).await;
            HttpBackend::start_on(address).await
        };
        let what = format!("it is gone for {away} ms");
        let good = until_good(&core, &what);
        let ((failed, took), again) = tokio::join!(good, back);
        backend = again;
        assert!(failed <= 1, "{what}: {failed}");
        assert!(took < SOON, "{what}: {took:?}");
    }
}

#[tokio::test]
async fn a_call_in_a_backend_that_is_killed_fails_before_its_deadline() {
    let backend = HttpBackend::start().await;
    let (address, counter) = (backend.address, backend.counter.clone());
    let mut settings = over_http("a", backend.url());
    settings.timing.request = Duration::from_mins(1);
    let core = Core::start(vec![settings]);
    settled(&core).await;
    let (me, hang) = (Identity::anonymous(), CallToolRequestParams::new("a_hang"));
    let since = Instant::now();
    let (called, again) = tokio::join!(core.call_tool(&me, hang), async {
        until("it has begun", async || counter.calls() == 1).await;
        drop(backend);
        HttpBackend::start_on(address).await
    });
    let (why, took) = (called.unwrap_err(), since.elapsed());
    println!("| it is killed in mid-call | 1 | {took:.0?} | {why} |");
    assert!(took < SOON, "{took:?}");
    let (failed, took) = until_good(&core, "it was killed in mid-call").await;
    assert!(failed <= 1 && took < SOON, "{failed} {took:?}");
    drop(again);
}

#[tokio::test]
async fn a_child_that_is_killed_costs_one_call_at_most() {
    let log = Log::new();
    let mut settings = log.child(SERVER.to_owned());
    settings.timing.first_backoff = Duration::from_millis(500);
    let core = Core::start(vec![settings]);
    settled(&core).await;
    for n in 1..=3 {
        kill(&log.starts()[n - 1]);
        let (failed, took) = until_good(&core, "a child is killed").await;
        assert!(failed <= 1, "{failed}");
        assert!(took < SOON, "{took:?}");
        assert_eq!(log.starts().len(), n + 1);
    }
    // In mid-call, which fails at once and not at its deadline.
    let (me, deaf) = (Identity::anonymous(), CallToolRequestParams::new("a_deaf"));
    let (called, ()) = tokio::join!(core.call_tool(&me, deaf), async {
        let child = log.starts()[3].clone();
        until("it is deaf", async || {
            let command = std::fs::read_to_string(format!("/proc/{child}/cmdline"));
            command.unwrap_or_default().starts_with("sleep")
        })
        .await;
        kill(&child);
    });
    let broken = called.unwrap_err().to_string();
    assert!(broken.contains("the connection broke"), "{broken}");
    let (failed, took) = until_good(&core, "a child is killed in mid-call").await;
    assert_eq!(failed, 0);
    assert!(took < SOON, "{took:?}");
}

#[tokio::test]
async fn an_odd_answer_and_one_that_does_not_come_cost_that_call() {
    let backend = RawBackend::start().await;
    let mut settings = over_http("a", url(backend.address));
    settings.timing.request = Duration::from_millis(500);
    let core = Core::start(vec![settings]);
    settled(&core).await;
    for (raw, what) in [
        (Raw(200, JSON, "<html>"), "it answers with no JSON"),
        (Raw(503, "", ""), "it answers 503"),
        (Raw(202, "", ""), "it accepts a call and never answers"),
    ] {
        backend.answers.lock().unwrap().insert("tools/call", raw);
        let since = Instant::now();
        call(&core).await.unwrap_err();
        println!("| {what} | 1 | {:.0?} | |", since.elapsed());
        backend.answers.lock().unwrap().clear();
        let (failed, took) = until_good(&core, what).await;
        assert_eq!(failed, 0, "{what}");
        assert!(took < SOON, "{what}: {took:?}");
    }
    assert_eq!(backend.sessions(), 1);

    let slow = OddBackend::start().await;
    let mut settings = over_http("a", url(slow.address));
    settings.timing.request = Duration::from_millis(500);
    let core = Core::start(vec![settings]);
    settled(&core).await;
    let wait = CallToolRequestParams::new("a_wait");
    core.call_tool(&Identity::anonymous(), wait)
        .await
        .unwrap_err();
    let (failed, _) = until_good(&core, "a call is late").await;
    assert_eq!((failed, slow.session_ids().await.len()), (0, 1));
}
