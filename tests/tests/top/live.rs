//! In a terminal.

use nix::sys::signal::Signal;
use toolgate_tests::{Limiter, Terminal};

use crate::stage::{FIVE_A_DAY, Stage, bench, command};

const PLAIN: (u16, u16) = (80, 24);

fn top(endpoints: &str) -> Terminal {
    top_with(endpoints, &[])
}

fn top_with(endpoints: &str, environment: &[(&str, &str)]) -> Terminal {
    let mut command = command(&["top", "--endpoint", endpoints, "--interval", "200ms"]);
    command.args(["--timeout", "2s"]);
    command.envs(environment.iter().copied());
    Terminal::start(&mut command, PLAIN).expect("a terminal")
}

async fn limiter() -> Limiter {
    let limiter = Limiter::of_spec(FIVE_A_DAY, [""; 0]).await;
    limiter.expect("a limiter")
}

fn is_serving(screen: &str) -> bool {
    screen.contains("1 replica: 1 serving")
}

#[tokio::test]
async fn keys_that_quit_quit_and_leave_the_terminal_as_it_was() {
    let limiter = limiter().await;
    for keys in ["q", "\x1b", "\x03"] {
        let mut terminal = top(limiter.endpoint());
        terminal.until("the limiter is shown", is_serving).await;
        assert!(
            !terminal.is_restored().expect("a terminal"),
            "it is drawn on"
        );
        terminal.type_keys(keys).expect("typed");
        let status = terminal.wait().await.expect("it ends");
        assert_eq!(status.code(), Some(0), "{keys:?}");
        terminal.until_restored(&format!("after {keys:?}")).await;
    }
}

#[tokio::test]
async fn signals_that_end_it_leave_the_terminal_as_it_was() {
    let limiter = limiter().await;
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut terminal = top(limiter.endpoint());
        terminal.until("the limiter is shown", is_serving).await;
        terminal.signal(signal).expect("sent");
        let status = terminal.wait().await.expect("it ends");
        assert_eq!(status.code(), Some(0), "{signal}");
        terminal.until_restored(&format!("after {signal}")).await;
    }
}

#[tokio::test]
async fn under_load_it_shows_rates_the_refusing_limit_and_the_hottest_user() {
    let stage = Stage::start(&[]).await;
    let endpoints = stage.endpoints();
    let mut terminal = top(&endpoints);
    let load = tokio::spawn(async move {
        let load = ["--users", "100", "--keys", "zipf:1.2", "--tools", "1"];
        let time = ["--duration", "5s", "--connections", "2"];
        bench(&endpoints, &[&load[..], &time].concat()).await
    });
    let is_shown = |screen: &str| {
        let shows = |line: &[&str]| {
            let mut lines = screen.lines();
            lines.any(|shown| line.iter().all(|part| shown.contains(part)))
        };
        shows(&["test/server"])
            && shows(&["tool tool-0 per user"])
            && shows(&["tool tool-0 ", "user-0 ", "[          ]", "0/5"])
            && shows(&["2 replicas: 2 serving"])
    };
    let screen = terminal.until("the load is shown", is_shown).await;
    assert!(screen.lines().count() <= 24, "{screen}");
    // By name the server's own bucket comes first, with all callers in it.
    terminal.type_keys("ss").expect("typed");
    let sorted = |screen: &str| screen.contains("s sort: name");
    terminal.until("it is sorted by name", sorted).await;
    load.await.expect("it ends");
}

#[tokio::test]
async fn a_replica_that_hangs_freezes_nothing() {
    let mut stage = Stage::start(&[]).await;
    let mut terminal = top(&stage.endpoints());
    let both = |screen: &str| screen.contains("2 replicas: 2 serving");
    terminal.until("both are shown", both).await;
    stage.limiters[0].signal(Signal::SIGSTOP).expect("stopped");
    let hangs = |screen: &str| {
        screen.contains("1 serving")
            && screen.contains("1 unreachable")
            && screen.contains("no answer within 2s")
    };
    terminal.until("one hangs", hangs).await;
    terminal.type_keys("s").expect("typed");
    let sorted = |screen: &str| screen.contains("s sort: checks/s");
    terminal.until("keys are heard", sorted).await;
    stage.limiters[0]
        .signal(Signal::SIGCONT)
        .expect("continued");
    terminal.until("both are back", both).await;
}

#[tokio::test]
async fn it_follows_the_size_of_its_terminal() {
    let limiter = limiter().await;
    let mut terminal = top(limiter.endpoint());
    let wide = |screen: &str| screen.contains("CHECKS SO FAR") && screen.contains("VERSION");
    let screen = terminal.until("the limiter is shown", is_serving).await;
    assert!(!wide(&screen), "{screen}");
    terminal.resize((180, 40)).expect("resized");
    let screen = terminal.until("it is wide", wide).await;
    assert_eq!(screen.lines().count(), 40, "{screen}");
    terminal.resize((60, 10)).expect("resized");
    terminal
        .until("it is narrow", |screen| {
            !wide(screen) && screen.lines().count() == 10 && is_serving(screen)
        })
        .await;
}

#[tokio::test]
async fn without_colour_it_writes_none() {
    let limiter = limiter().await;
    let coloured = top(limiter.endpoint());
    coloured.until("the limiter is shown", is_serving).await;
    // As ECMA-48 and its kin choose a colour for text: 30 to 37, and 38.
    let has_colour = |text: &str| (0..=8).any(|of| text.contains(&format!("\x1b[3{of}")));
    assert!(has_colour(&coloured.written()), "{:?}", coloured.written());
    let plain = top_with(limiter.endpoint(), &[("NO_COLOR", "1")]);
    plain.until("the limiter is shown", is_serving).await;
    let written = plain.written();
    assert!(!has_colour(&written), "{written:?}");
}

#[tokio::test]
async fn a_terminal_that_cannot_be_drawn_on_gets_a_table() {
    let limiter = limiter().await;
    let mut terminal = top_with(limiter.endpoint(), &[("TERM", "dumb"), ("NO_COLOR", "1")]);
    let status = terminal.wait().await.expect("it ends");
    assert_eq!(status.code(), Some(0));
    terminal
        .until("the table is shown", |screen| screen.contains("REPLICA"))
        .await;
    assert!(
        !terminal.written().contains('\x1b'),
        "{:?}",
        terminal.written()
    );
}
