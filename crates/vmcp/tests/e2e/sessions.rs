//! Backends that restart and lose their sessions.

use rmcp::model::CallToolRequestParams;
use tokio::time::{Duration, Instant};
use toolgate_limit::Identity;
use vmcp::{Vmcp, VmcpError, core::Core};

use crate::{
    raw::{Raw, RawBackend},
    wait::core_of,
};

/// Less than the deadline of a request.
const SOON: Duration = Duration::from_secs(5);

async fn call(core: &Core) -> Result<(), VmcpError> {
    let call = CallToolRequestParams::new("a_echo");
    core.call_tool(&Identity::anonymous(), call).await.map(drop)
}

pub(crate) const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// What servers say of a session that they do not know, where it is certain that nothing has run.
pub(crate) const REFUSED: [Raw; 9] = [
    Raw(404, "", ""),
    // server-everything, and most that are written with the SDK for TypeScript.
    Raw(
        400,
        JSON,
        r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"}}"#,
    ),
    Raw(
        400,
        JSON,
        r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: Server not initialized"},"id":null}"#,
    ),
    // The SDK for Python.
    Raw(
        400,
        JSON,
        r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Bad Request: No valid session ID provided"}}"#,
    ),
    Raw(400, "text/plain", "Bad Request"),
    Raw(400, JSON, r#"{"error":"invalid_session"}"#),
    Raw(401, "", ""),
    Raw(410, "", ""),
    Raw(
        422,
        JSON,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Unexpected message"}}"#,
    ),
];

const NOT_FOUND: &str =
    r#"{"jsonrpc":"2.0","id":ID,"error":{"code":-32001,"message":"Session not found"}}"#;

/// What servers say of it, where the request may have run all the same.
pub(crate) const ANSWERED: [Raw; 7] = [
    Raw(200, JSON, NOT_FOUND),
    Raw(
        200,
        JSON,
        r#"{"jsonrpc":"2.0","error":{"code":-32001,"message":"Session not found"}}"#,
    ),
    Raw(
        401,
        JSON,
        r#"{"jsonrpc":"2.0","id":ID,"error":{"code":-32001,"message":"Unauthorized: unknown session"}}"#,
    ),
    Raw(
        200,
        EVENTS,
        "data: {\"jsonrpc\":\"2.0\",\"id\":ID,\"error\":{\"code\":-32001,\"message\":\"Session not found\"}}\n\n",
    ),
    Raw(
        200,
        EVENTS,
        "data: {\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32000,\"message\":\"Not initialized\"}}\n\n",
    ),
    Raw(500, "text/plain", "Internal Server Error"),
    Raw(
        500,
        JSON,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"unknown session"}}"#,
    ),
];

/// All but the first hung until the deadline and failed, and so did the next ones, for a minute.
#[tokio::test]
async fn a_session_that_is_lost_is_begun_anew_and_no_call_fails() {
    for lost in REFUSED {
        let backend = RawBackend::start().await;
        let core = core_of(backend.address).await;
        call(&core).await.unwrap();
        for n in 1..=2 {
            backend.restart(lost);
            let started = Instant::now();
            let called = call(&core).await;
            assert!(called.is_ok(), "{lost:?}: {called:?}");
            assert!(started.elapsed() < SOON, "{lost:?}");
            assert_eq!(
                (backend.sessions(), backend.ran()),
                (1 + n, 1 + n),
                "{lost:?}"
            );
        }
    }
}

/// Of those that came as events or with status 500 it was found out when the lists were looked at: once in
/// 30 s.
#[tokio::test]
async fn a_session_that_is_lost_by_an_answer_costs_that_call_and_no_other() {
    for lost in ANSWERED {
        let backend = RawBackend::start().await;
        let core = core_of(backend.address).await;
        for n in 1..=2 {
            backend.restart(lost);
            let started = Instant::now();
            let failed = call(&core).await;
            assert!(failed.is_err(), "{lost:?}");
            let called = call(&core).await;
            assert!(called.is_ok(), "{lost:?}: {called:?}");
            assert!(started.elapsed() < SOON, "{lost:?}");
            assert_eq!((backend.sessions(), backend.ran()), (1 + n, n), "{lost:?}");
        }
    }
}

/// A tool that writes ran twice: its own error said "session", and the session was gone by the time that
/// was looked into.
#[tokio::test]
async fn a_call_that_has_run_is_not_sent_again_when_its_session_is_lost_after_it() {
    for answer in ANSWERED {
        let backend = RawBackend::start().await;
        let core = core_of(backend.address).await;
        backend.answers.lock().unwrap().insert("tools/call", answer);
        *backend.restarts_after_call.lock().unwrap() = Some(REFUSED[0]);
        assert!(call(&core).await.is_err(), "{answer:?}");
        assert_eq!((backend.sessions(), backend.ran()), (1, 1), "{answer:?}");
        backend.answers.lock().unwrap().clear();
        call(&core).await.unwrap();
        assert_eq!((backend.sessions(), backend.ran()), (2, 2), "{answer:?}");
    }
}

/// Each of these `ping`s passed for a lost session: the call ran twice, and calls of others that were under
/// way in the session were lost.
#[tokio::test]
async fn a_ping_that_is_refused_for_a_reason_of_its_own_ends_no_session() {
    const UNKNOWN: &str =
        r#"{"jsonrpc":"2.0","id":ID,"error":{"code":-32601,"message":"Method not found"}}"#;
    for ping in [
        Raw(401, "", ""),
        Raw(403, JSON, r#"{"error":"insufficient_scope"}"#),
        Raw(200, JSON, UNKNOWN),
        Raw(400, JSON, UNKNOWN),
        Raw(404, JSON, UNKNOWN),
        Raw(500, "", ""),
        Raw(503, "", ""),
    ] {
        for answer in [
            Raw(200, JSON, NOT_FOUND),
            Raw(403, "", ""),
            Raw(404, "text/plain", "no such path"),
        ] {
            let backend = RawBackend::start().await;
            let core = core_of(backend.address).await;
            {
                let mut answers = backend.answers.lock().unwrap();
                answers.extend([("ping", ping), ("tools/call", answer)]);
            }
            assert!(call(&core).await.is_err(), "{ping:?} {answer:?}");
            let counts = (backend.sessions(), backend.ran());
            assert_eq!(counts, (1, 1), "{ping:?} {answer:?}");
        }
    }
}

#[tokio::test]
async fn calls_that_lose_their_session_together_begin_one_and_none_fails() {
    let backend = RawBackend::start().await;
    let core = core_of(backend.address).await;
    backend.restart(REFUSED[1]);
    let called = futures::future::join_all((0..50).map(|_| call(&core))).await;
    assert!(called.iter().all(Result::is_ok), "{called:?}");
    assert_eq!((backend.sessions(), backend.ran()), (2, 50));
}

/// A tool may have sessions of its own, and a caller may name one that is not there. That must end
/// nobody's session here.
#[tokio::test]
async fn an_error_that_only_looks_like_a_lost_session_is_passed_on() {
    let backend = RawBackend::start().await;
    let core = core_of(backend.address).await;
    for (raw, code) in [
        (
            Raw(
                200,
                JSON,
                r#"{"jsonrpc":"2.0","id":ID,"error":{"code":-32001,"message":"Session not found"}}"#,
            ),
            -32001,
        ),
        (
            Raw(
                200,
                JSON,
                r#"{"jsonrpc":"2.0","error":{"code":-5,"message":"no id"}}"#,
            ),
            -5,
        ),
        (
            Raw(
                400,
                JSON,
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-6,"message":"Session?"}}"#,
            ),
            -6,
        ),
        (
            Raw(
                500,
                JSON,
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-7,"message":"x"}}"#,
            ),
            -7,
        ),
        (
            Raw(
                200,
                "text/event-stream",
                "data: {\"jsonrpc\":\"2.0\",\"error\":{\"code\":-8,\"message\":\"x\"}}\n\n",
            ),
            -8,
        ),
        (
            Raw(
                200,
                JSON,
                r#"{"id":"server-error","error":{"code":-9,"message":5}}"#,
            ),
            -9,
        ),
    ] {
        backend.answers.lock().unwrap().insert("tools/call", raw);
        let started = Instant::now();
        match call(&core).await {
            Err(VmcpError::Backend(error)) => assert_eq!(error.code.0, code, "{raw:?}"),
            other => panic!("{raw:?}: {other:?}"),
        }
        assert!(started.elapsed() < SOON, "{raw:?}");
    }
    assert_eq!((backend.sessions(), backend.ran()), (1, 6));
}

#[tokio::test]
async fn what_is_no_answer_ends_its_call_at_once_and_no_session() {
    let backend = RawBackend::start().await;
    let core = core_of(backend.address).await;
    for (raw, reason) in [
        (
            Raw(401, "", ""),
            "it does not take this server's credentials",
        ),
        (
            Raw(403, JSON, "{}"),
            "it does not take this server's credentials",
        ),
        (Raw(400, "", ""), "it answered with HTTP status 400"),
        (
            Raw(503, "text/html", "<html>"),
            "it answered with HTTP status 503",
        ),
        (
            Raw(200, JSON, "<html>"),
            "its answer is none to this request",
        ),
        (Raw(200, JSON, ""), "its answer is none to this request"),
        (
            Raw(
                200,
                JSON,
                r#"{"jsonrpc":"2.0","id":99,"result":{"content":[]}}"#,
            ),
            "its answer is none to this request",
        ),
        (
            Raw(200, JSON, r#"{"jsonrpc":"2.0","method":"notifications/x"}"#),
            "its answer is none to this request",
        ),
    ] {
        backend.answers.lock().unwrap().insert("tools/call", raw);
        let started = Instant::now();
        let failed = call(&core).await.unwrap_err().to_string();
        assert_eq!(failed, format!("backend a failed: {reason}"), "{raw:?}");
        assert!(started.elapsed() < SOON, "{raw:?}");
    }
    assert_eq!((backend.sessions(), backend.ran()), (1, 8));
    backend.answers.lock().unwrap().clear();
    call(&core).await.unwrap();
}
