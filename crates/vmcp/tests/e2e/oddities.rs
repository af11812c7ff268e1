//! What backends and callers should not do harms nobody else.

use std::sync::atomic::Ordering;

use rmcp::model::{CallToolRequestParams, GetPromptRequestParams, ReadResourceRequestParams};
use tokio::time::{Duration, Instant};
use toolgate_limit::Identity;
use vmcp::{Vmcp, VmcpError, core::Core};

use crate::{
    backend::{over_http, url},
    log::Log,
    odd::OddBackend,
    wait::{PATIENCE, core_of, settled, until},
};

/// The least time between two looks at a backend's lists.
const GAP: Duration = Duration::from_secs(1);

async fn call(core: &Core, name: &str) -> Result<(), VmcpError> {
    let call = CallToolRequestParams::new(name.to_owned());
    let called = core.call_tool(&Identity::anonymous(), call).await;
    called.map(drop)
}

async fn get(core: &Core, name: &str) -> Result<(), VmcpError> {
    let get = GetPromptRequestParams::new(name);
    let got = core.get_prompt(&Identity::anonymous(), get).await;
    got.map(drop)
}

async fn read(core: &Core, uri: &str) -> Result<(), VmcpError> {
    let read = ReadResourceRequestParams::new(uri);
    let read = core.read_resource(&Identity::anonymous(), read).await;
    read.map(drop)
}

async fn counts(core: &Core) -> [usize; 4] {
    let me = Identity::anonymous();
    [
        core.list_tools(&me, None).await.unwrap().tools.len(),
        core.list_prompts(&me, None).await.unwrap().prompts.len(),
        core.list_resources(&me, None)
            .await
            .unwrap()
            .resources
            .len(),
        core.list_resource_templates(&me, None)
            .await
            .unwrap()
            .resource_templates
            .len(),
    ]
}

/// One such answer made every tool of its backend unavailable, and broke the calls in flight.
#[tokio::test]
async fn a_list_that_fails_stays_as_it_was_and_breaks_no_call() {
    let backend = OddBackend::start().await;
    backend.fails.lock().unwrap().insert("prompts/list");
    let core = core_of(backend.address).await;
    assert_eq!(counts(&core).await, [4, 0, 100, 1]);
    call(&core, "a_echo").await.unwrap();

    backend.fails.lock().unwrap().clear();
    let meanwhile = async {
        call(&core, "a_storm").await.unwrap();
        until("prompts are listed", async || counts(&core).await[1] == 4).await;
        let all = ["prompts/list", "resources/list", "resources/templates/list"];
        backend.fails.lock().unwrap().extend(all);
        backend.names.lock().unwrap().push("more");
        call(&core, "a_storm").await.unwrap();
        until("the new tool is listed", async || {
            counts(&core).await[0] == 5
        })
        .await;
        assert_eq!(counts(&core).await, [5, 4, 100, 1]);
        backend.release.add_permits(1);
    };
    let (waited, ()) = tokio::join!(call(&core, "a_wait"), meanwhile);
    waited.unwrap();
}

/// It took 1.2 GB, and more with time.
#[tokio::test]
async fn lists_without_end_are_cut_and_the_backend_serves() {
    let backend = OddBackend::start().await;
    backend.endless.lock().unwrap().insert("resources/list");
    let mut settings = over_http("a", url(backend.address));
    // A list that takes too long is cut as well: on a busy machine a hundred pages take seconds.
    (settings.timing.request, settings.timing.connect) = (PATIENCE, PATIENCE);
    let core = Core::start(vec![settings]);
    settled(&core).await;
    assert_eq!(counts(&core).await, [4, 4, 10_000, 1]);
    call(&core, "a_echo").await.unwrap();
}

/// A backend that trims names or folds their case ran these past the limit of `a_echo`.
#[tokio::test]
async fn names_that_are_not_listed_do_not_reach_the_backend() {
    let backend = OddBackend::start().await;
    let core = core_of(backend.address).await;
    for name in [
        "a_echo ",
        "a_echo\0",
        "a_echo\u{200b}",
        "a_Echo",
        "a_hidden",
    ] {
        for refused in [call(&core, name).await, get(&core, name).await] {
            assert!(
                matches!(refused, Err(VmcpError::Unknown { .. })),
                "{name:?}"
            );
        }
    }
    call(&core, "a_echo").await.unwrap();
    get(&core, "a_echo").await.unwrap();
    let seen = backend.seen.lock().unwrap();
    assert_eq!(*seen, ["tools/call echo", "prompts/get echo"]);
}

#[tokio::test]
async fn a_tool_that_is_new_is_found_when_it_is_called_and_unknown_names_are_no_load() {
    let backend = OddBackend::start().await;
    let core = core_of(backend.address).await;
    let started = Instant::now();
    for name in ["a_no", "a_nothing", "a_none"] {
        call(&core, name).await.unwrap_err();
    }
    // Nobody is told.
    backend.names.lock().unwrap().push("more");
    until("the new tool is found", async || {
        call(&core, "a_more").await.is_ok()
    })
    .await;
    let most = 2 + started.elapsed().as_secs();
    let looks = backend.looks.load(Ordering::SeqCst);
    assert!(looks as u64 <= most, "{looks} looks");
}

/// 2,550 looks in 10 s.
#[tokio::test]
async fn a_storm_of_changes_is_looked_at_once_a_second() {
    let backend = OddBackend::start().await;
    let core = core_of(backend.address).await;
    let started = Instant::now();
    for _ in 0..3 {
        call(&core, "a_storm").await.unwrap();
    }
    backend.names.lock().unwrap().push("more");
    call(&core, "a_storm").await.unwrap();
    until("the last change is seen", async || {
        counts(&core).await[0] == 5
    })
    .await;
    let most = 2 + started.elapsed().as_secs() / GAP.as_secs();
    let looks = backend.looks.load(Ordering::SeqCst);
    assert!(
        looks as u64 <= most,
        "{looks} looks in {:?}",
        started.elapsed()
    );
}

/// All of them reached the backend when the limit of `file:///exports/all.csv` was used up.
#[tokio::test]
async fn another_spelling_of_a_uri_does_not_reach_the_backend() {
    let backend = OddBackend::start().await;
    let core = core_of(backend.address).await;
    for uri in [
        "file:///exports/./all.csv",
        "file:///exports/x/../all.csv",
        "file:///exports//all.csv",
        "file:///exports/%61ll.csv",
        "file:///exports/all.csv?",
        "file:///exports/all.csv#x",
        "file:///x%2F..%2Fexports%2Fall.csv",
        "file:///exports%2Fall.csv",
        "file:///exports/%2e%2e/all.csv",
        "file:///exports%252Fall.csv",
        "file:///exports%5Call.csv",
    ] {
        let refused = read(&core, uri).await;
        assert!(matches!(refused, Err(VmcpError::InvalidParams(_))), "{uri}");
    }
    // What a backend lists is asked for as it lists it.
    for uri in ["file:///exports/all.csv", "file:///listed/../1"] {
        read(&core, uri).await.unwrap();
    }
    assert_eq!(backend.seen.lock().unwrap().len(), 2);
}

/// Clients that hang up leave their calls behind.
#[tokio::test]
async fn calls_in_flight_are_bounded_and_one_that_is_dropped_is_cancelled() {
    let backend = OddBackend::start().await;
    let mut settings = over_http("a", url(backend.address));
    settings.timing.max_in_flight = 2;
    let core = Core::start(vec![settings]);
    settled(&core).await;
    let first = Box::pin(call(&core, "a_wait"));
    let mut second = Box::pin(call(&core, "a_wait"));
    let both_are_there = until("both are there", async || {
        backend.seen.lock().unwrap().len() == 2
    });
    tokio::select! {
        _ = async { tokio::join!(first, &mut second) } => panic!("nobody has released them"),
        () = both_are_there => {}
    }
    // `first` was dropped by then.
    until("the backend is told", async || {
        backend.cancelled.load(Ordering::SeqCst) == 1
    })
    .await;
    let third = Box::pin(call(&core, "a_wait"));
    let refused = async {
        until("the third is there", async || {
            backend.seen.lock().unwrap().len() == 3
        })
        .await;
        let refused = call(&core, "a_echo").await.unwrap_err().to_string();
        assert_eq!(
            refused,
            "backend a failed: not sent, as 2 requests to it are in flight"
        );
        backend.release.add_permits(2);
    };
    let (second, third, ()) = tokio::join!(second, third, refused);
    second.unwrap();
    third.unwrap();
    call(&core, "a_echo").await.unwrap();
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_said_to_be_so_and_leaves_the_backend_up() {
    let backend = OddBackend::start().await;
    let core = core_of(backend.address).await;
    let error = call(&core, "a_huge").await.unwrap_err().to_string();
    let expected = "a failed: its answer is larger than 16777216 bytes";
    assert!(error.contains(expected), "{error}");
    call(&core, "a_echo").await.unwrap();
}

#[tokio::test]
async fn the_log_does_not_show_what_is_secret_in_a_backends_url() {
    let log = Log::default();
    let _captured = log.capture();
    let gone = OddBackend::start().await.address;
    let secret = format!("http://me:s3cret@{gone}/mcp?api_key=s3cret");
    let core = Core::start(vec![over_http("a", secret)]);
    settled(&core).await;
    let error = call(&core, "a_echo").await.unwrap_err().to_string();

    let log = log.text();
    assert!(log.contains("backend is down"), "{log}");
    assert!(error.contains("unavailable"), "{error}");
    for text in [&log, &error] {
        assert!(
            !text.contains("s3cret") && !text.contains("api_key"),
            "{text}"
        );
    }
}
