//! Users of one gateway do not see each other.

use std::sync::Arc;

use async_trait::async_trait;
use rmcp::model::{
    ArgumentInfo, CallToolRequestParams, CompleteRequestParams, ReadResourceRequestParams,
    ReadResourceResponse, Reference, ResourceContents,
};
use tokio::time::{Duration, Instant, sleep};
use toolgate_client::OnUnavailable;
use toolgate_limit::{Answer, Check, Identity, Limiter, LimiterError};
use vmcp::{
    Gate, Vmcp, VmcpError,
    core::{Core, Sessions},
    rate_limited,
};

use crate::{
    backend::{over_http, url},
    modern::ModernBackend,
    odd::OddBackend,
    wait::{settled, until},
};

/// The resources that `name` sees.
async fn resources(core: &Core, name: &str) -> Vec<String> {
    let listed = core.list_resources(&user(name), None).await.unwrap();
    let uris = listed.resources.into_iter().map(|resource| resource.uri);
    uris.collect()
}

fn user(name: &str) -> Identity {
    Identity::new(name).unwrap()
}

async fn read(core: &Core, name: &str, uri: &str) -> Result<String, VmcpError> {
    let read = ReadResourceRequestParams::new(uri);
    match core.read_resource(&user(name), read).await? {
        ReadResourceResponse::Complete(result) => match &result.contents[0] {
            ResourceContents::TextResourceContents { text, .. } => Ok(text.clone()),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// rmcp's client answered the second user from its cache, and went on to when the backend failed
/// and when it was gone.
#[tokio::test]
async fn no_user_is_answered_from_what_the_backend_said_to_another() {
    for scope in ["private", "public"] {
        let backend = ModernBackend::start(scope).await;
        let core = Core::start(vec![over_http("a", url(backend.address))]);
        until("it is listed", async || {
            !resources(&core, "alice").await.is_empty()
        })
        .await;
        for (n, name) in ["alice", "bob", "alice"].into_iter().enumerate() {
            let text = read(&core, name, "note://mine").await.unwrap();
            assert_eq!(text, format!("read {}", n + 1), "{name}, {scope}");
        }
        assert_eq!(backend.reads(), 3);
        backend.fail();
        let failed = read(&core, "alice", "note://mine").await;
        assert!(matches!(failed, Err(VmcpError::Backend(_))), "{failed:?}");
        drop(backend);
        let gone = read(&core, "bob", "note://mine").await.unwrap_err();
        assert!(!matches!(gone, VmcpError::Backend(_)), "{gone}");
    }
}

/// A core whose users have sessions of their own at `backend`.
async fn per_user(backend: &OddBackend, most: usize, idle: Duration) -> Core {
    let mut settings = over_http("a", url(backend.address));
    settings.sessions = Sessions::PerUser { most, idle };
    let core = Core::start(vec![settings]);
    until("it is listed", async || {
        !resources(&core, "alice").await.is_empty()
    })
    .await;
    core
}

async fn call(core: &Core, name: &str, tool: &'static str) -> Result<(), VmcpError> {
    let call = CallToolRequestParams::new(tool);
    core.call_tool(&user(name), call).await.map(drop)
}

async fn until_sessions(backend: &OddBackend, count: usize) {
    until(&format!("{count} sessions"), async || {
        backend.sessions().await == count
    })
    .await;
}

#[tokio::test]
async fn each_user_has_a_session_and_a_new_one_takes_the_place_of_the_longest_idle() {
    let backend = OddBackend::start().await;
    let core = per_user(&backend, 2, Duration::from_hours(1)).await;
    // Who only lists needs none.
    assert_eq!(backend.sessions().await, 1);
    for _ in 0..2 {
        call(&core, "alice", "a_echo").await.unwrap();
        call(&core, "bob", "a_echo").await.unwrap();
    }
    assert_eq!(backend.sessions().await, 3);
    call(&core, "carol", "a_echo").await.unwrap();
    until_sessions(&backend, 3).await;

    // Of three users two can have one. Those who use theirs keep them.
    let waiting =
        async { tokio::join!(call(&core, "bob", "a_wait"), call(&core, "carol", "a_wait")) };
    let meanwhile = async {
        let waits = async || {
            let seen = backend.seen.lock().unwrap();
            seen.iter().filter(|call| call.ends_with("wait")).count() == 2
        };
        until("both wait", waits).await;
        let refused = call(&core, "alice", "a_echo")
            .await
            .unwrap_err()
            .to_string();
        let expected = "backend a failed: not sent, as all of its 2 sessions are in use";
        assert_eq!(refused, expected);
        backend.release.add_permits(2);
    };
    let ((bob, carol), ()) = tokio::join!(waiting, meanwhile);
    bob.unwrap();
    carol.unwrap();
    call(&core, "alice", "a_echo").await.unwrap();
    until_sessions(&backend, 3).await;
}

#[tokio::test]
async fn a_session_that_is_idle_is_closed_and_opened_again_when_it_is_needed() {
    let backend = OddBackend::start().await;
    let core = per_user(&backend, 2, Duration::from_millis(200)).await;
    for _ in 0..2 {
        call(&core, "alice", "a_echo").await.unwrap();
        until_sessions(&backend, 1).await;
    }
    // A request that takes longer than that keeps its session.
    let waiting = call(&core, "alice", "a_wait");
    let meanwhile = async {
        sleep(Duration::from_millis(600)).await;
        assert_eq!(backend.sessions().await, 2);
        backend.release.add_permits(1);
    };
    let (waited, ()) = tokio::join!(waiting, meanwhile);
    waited.unwrap();
    until_sessions(&backend, 1).await;
}

/// A backend without sessions has one connection, however many users there are.
#[tokio::test]
async fn a_backend_without_sessions_is_asked_over_one_connection() {
    let backend = ModernBackend::start("private").await;
    let mut settings = over_http("a", url(backend.address));
    let (most, idle) = (1, Duration::from_hours(1));
    settings.sessions = Sessions::PerUser { most, idle };
    let core = Core::start(vec![settings]);
    until("it is listed", async || {
        !resources(&core, "alice").await.is_empty()
    })
    .await;
    let both = async { tokio::join!(call(&core, "alice", "a_wait"), call(&core, "bob", "a_wait")) };
    tokio::select! {
        _ = both => panic!("nobody ends them"),
        () = until("both are there", async || backend.waiting() == 2) => {}
    }
}

/// While its backend was down, `note://mine` went to the template of the other one: another's words,
/// under the limits of this one.
#[tokio::test]
async fn a_uri_of_a_backend_that_is_down_is_not_read_from_the_template_of_another() {
    let (listing, other) = tokio::join!(
        ModernBackend::start("private"),
        ModernBackend::start("private")
    );
    other.serve_all();
    let core = Core::start(vec![
        over_http("other", url(other.address)),
        over_http("listing", url(listing.address)),
    ]);
    until("both are listed", async || {
        resources(&core, "alice").await.len() == 1 && has_templates(&core).await
    })
    .await;
    read(&core, "alice", "note://mine").await.unwrap();
    read(&core, "alice", "note://else").await.unwrap();
    assert_eq!((listing.reads(), other.reads()), (1, 1));

    drop(listing);
    until("it is down", async || {
        let gone = read(&core, "alice", "note://mine").await.unwrap_err();
        matches!(gone, VmcpError::Unavailable { .. })
    })
    .await;
    read(&core, "alice", "note://else").await.unwrap();
    assert_eq!(other.reads(), 2);
}

async fn has_templates(core: &Core) -> bool {
    let listed = core.list_resource_templates(&user("alice"), None).await;
    !listed.unwrap().resource_templates.is_empty()
}

/// One look that came too late ended the session, and what the user had in it was lost.
#[tokio::test]
async fn a_session_outlives_a_late_look_and_not_silence() {
    let backend = OddBackend::start().await;
    let mut settings = over_http("a", url(backend.address));
    let (most, idle) = (2, Duration::from_hours(1));
    settings.sessions = Sessions::PerUser { most, idle };
    settings.timing.connect = Duration::from_secs(2);
    let core = Core::start(vec![settings]);
    settled(&core).await;
    call(&core, "alice", "a_echo").await.unwrap();
    let before = backend.session_ids().await;

    // A look comes a second after the one before.
    let looks = async || {
        let since = Instant::now();
        let unknown = call(&core, "alice", "a_nothing").await.unwrap_err();
        assert!(matches!(unknown, VmcpError::Unknown { .. }), "{unknown}");
        since.elapsed() > Duration::from_secs(1)
    };
    backend.hangs.send_replace(true);
    until("a look is late", looks).await;
    backend.names.lock().unwrap().push("new");
    backend.hangs.send_replace(false);
    until("a look is answered", async || {
        let listed = core.list_tools(&user("alice"), None).await.unwrap();
        listed.tools.iter().any(|tool| tool.name == "a_new")
    })
    .await;
    call(&core, "alice", "a_new").await.unwrap();
    assert_eq!(backend.session_ids().await, before);

    backend.hangs.send_replace(true);
    until("a look is late", looks).await;
    until_sessions(&backend, 1).await;
}

/// Denies one user.
#[derive(Debug)]
struct Denies(&'static str);

#[async_trait]
impl Limiter for Denies {
    async fn check(&self, check: Check) -> Result<Answer, LimiterError> {
        if check.identity.subject() == Some(self.0) {
            return Err(LimiterError::Unreachable {
                endpoint: "nowhere".into(),
            });
        }
        Ok(Answer::unlimited())
    }

    async fn peek(&self, _: Check) -> Result<Answer, LimiterError> {
        unreachable!("nothing here peeks")
    }
}

/// Each of their calls ended a session of another user, with what that had in it.
#[tokio::test]
async fn who_is_always_denied_opens_no_session_and_closes_none() {
    let backend = OddBackend::start().await;
    let core = per_user(&backend, 2, Duration::from_hours(1)).await;
    let limiter = Arc::new(Denies("mallory"));
    let gate = Gate::new("a/b".parse().unwrap(), limiter, OnUnavailable::Deny);
    let vmcp = rate_limited(core, Some(gate));
    let call = async |name: &str| {
        let call = CallToolRequestParams::new("a_echo");
        vmcp.call_tool(&user(name), call).await
    };
    call("alice").await.unwrap();
    call("bob").await.unwrap();
    let before = backend.session_ids().await;
    assert_eq!(before.len(), 3);
    for _ in 0..5 {
        let denied = call("mallory").await.unwrap_err();
        assert!(matches!(denied, VmcpError::Undecided), "{denied}");
        // Completions are asked of no limiter.
        let reference = Reference::for_prompt("a_echo");
        let complete = CompleteRequestParams::new(reference, ArgumentInfo::new("x", ""));
        let refused = vmcp.complete(&user("mallory"), complete).await.unwrap_err();
        let expected = "not sent, as all of its 2 sessions are taken";
        assert!(refused.to_string().ends_with(expected), "{refused}");
    }
    call("alice").await.unwrap();
    call("bob").await.unwrap();
    assert_eq!(backend.session_ids().await, before);
    // Who is allowed takes the place of the one idle longest.
    call("carol").await.unwrap();
    until_sessions(&backend, 3).await;
    let after = backend.session_ids().await;
    assert_eq!(after.intersection(&before).count(), 2);
}
