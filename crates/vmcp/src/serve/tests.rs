use async_trait::async_trait;
use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Request, Response, header},
};
use serde_json::{Value, json};
use toolgate_client::OnUnavailable;
use toolgate_limit::{
    Identity, ManualClock, MemoryStore, Mode, Policies, Policy, Quota, Quotas, Snapshot,
    StoreLimiter,
};

use super::*;
use crate::{
    Gate,
    auth::Unauthorized,
    rate_limited,
    rejection::{Form, HttpStatus},
    testing::Recorder,
};

mod bodies;
mod forms;
mod guard;
mod ids;
mod metrics;
mod resource;

/// Takes the caller's word for who it is, which only a test may.
#[derive(Debug)]
struct Believe;

#[async_trait]
impl Authenticator for Believe {
    async fn authenticate(&self, headers: &HeaderMap) -> Result<Identity, Unauthorized> {
        let user = headers.get("x-test-user").ok_or(Unauthorized::Missing)?;
        Ok(Identity::new(user.to_str().unwrap()).unwrap())
    }
}

#[derive(Debug)]
struct Fixed(Arc<Snapshot>);

impl Policies for Fixed {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0)
    }
}

/// Three calls a minute and user.
fn served(rejection: Rejection) -> Router {
    let server: toolgate_limit::ServerId = "default/research".parse().unwrap();
    let quotas = Quotas {
        per_user: Some(Quota::new(3, std::time::Duration::from_mins(1)).unwrap()),
        ..Quotas::default()
    };
    let policy = Policy::new(server.clone(), Mode::Enforce, quotas, []).unwrap();
    let policies = Fixed(Arc::new(Snapshot::new(1, [policy])));
    let store = MemoryStore::with_clock(2_000, ManualClock::default());
    let limiter = StoreLimiter::new(Arc::new(policies), Arc::new(store));
    let gate = Gate::new(server, Arc::new(limiter), OnUnavailable::Deny);
    router(edge(
        rate_limited(Recorder::default(), Some(gate)),
        rejection,
    ))
}

fn edge(vmcp: Arc<dyn Vmcp>, rejection: Rejection) -> Edge {
    Edge {
        name: "research".to_owned(),
        vmcp,
        authenticator: Arc::new(Believe),
        rejection,
        allowed_hosts: vec![AllowedHost::Any],
        admin_hosts: vec![AllowedHost::Any],
        allowed_origins: Vec::new(),
        ready: watch::channel(true).1,
        registry: Registry::default(),
    }
}

fn request(version: Option<&str>, body: &Value) -> Request<Body> {
    let mut request = Request::post("/mcp")
        .header("host", "localhost")
        .header("accept", "application/json, text/event-stream")
        .header("content-type", "application/json")
        .header("x-test-user", "alice");
    if let Some(version) = version {
        request = request.header("mcp-protocol-version", version);
    }
    request.body(Body::from(body.to_string())).unwrap()
}

async fn send(router: &Router, request: Request<Body>) -> (Response<()>, Value) {
    let service = tower_service::Service::call(&mut router.clone(), request);
    let (parts, body) = service.await.unwrap().into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let value =
        serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body)));
    (Response::from_parts(parts, ()), value)
}

fn call(id: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "echo"}})
}

#[tokio::test]
async fn a_denied_call_is_a_json_rpc_error_with_its_own_id_and_status_200() {
    let router = served(Rejection::default());
    for id in [json!(1), json!("two"), json!(3)] {
        let (_, answer) = send(&router, request(Some("2025-11-25"), &call(&id))).await;
        assert_eq!(
            (&answer["id"], answer.get("error")),
            (&id, None),
            "{answer}"
        );
    }
    for id in [json!(4), json!("five"), json!(-1), json!("")] {
        let (response, answer) = send(&router, request(Some("2025-11-25"), &call(&id))).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(answer["id"], id);
        assert_eq!(answer["error"]["code"], json!(-32029));
        assert_eq!(answer["error"]["data"]["limitType"], json!("perUser"));
        assert_eq!(answer["error"]["data"]["retryAfterSeconds"], json!(20.0));
    }
    let mut other = request(Some("2025-11-25"), &call(&json!(9)));
    other
        .headers_mut()
        .insert("x-test-user", "bob".parse().unwrap());
    assert_eq!(send(&router, other).await.1.get("error"), None);
}

#[tokio::test]
async fn from_protocol_2026_07_28_the_code_is_429() {
    let router = served(Rejection::default());
    let mut call = call(&json!(1));
    call["params"]["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let modern = || {
        let mut request = request(Some("2026-07-28"), &call);
        let headers = request.headers_mut();
        headers.insert("mcp-method", "tools/call".parse().unwrap());
        headers.insert("mcp-name", "echo".parse().unwrap());
        request
    };
    for _ in 0..3 {
        let (_, answer) = send(&router, modern()).await;
        assert_eq!(
            answer["result"]["resultType"],
            json!("complete"),
            "{answer}"
        );
    }
    let (response, answer) = send(&router, modern()).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(answer["error"]["code"], json!(429), "{answer}");
}

#[tokio::test]
async fn a_denial_can_have_the_status_429() {
    let router = served(Rejection {
        http_status: HttpStatus::TooManyRequests,
        ..Rejection::default()
    });
    for _ in 0..3 {
        let (response, _) = send(&router, request(None, &call(&json!(1)))).await;
        assert_eq!(response.status(), StatusCode::OK);
    }
    let (response, answer) = send(&router, request(None, &call(&json!(1)))).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()[header::RETRY_AFTER], "20");
    assert_eq!(answer["error"]["code"], json!(-32029));
}

#[tokio::test]
async fn a_denied_tool_call_can_be_a_tool_result() {
    let router = served(Rejection {
        form: Form::ToolResult,
        http_status: HttpStatus::TooManyRequests,
    });
    for _ in 0..3 {
        send(&router, request(None, &call(&json!(1)))).await;
    }
    let (response, answer) = send(&router, request(None, &call(&json!(1)))).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(answer["result"]["isError"], json!(true), "{answer}");
}

#[tokio::test]
async fn a_batch_of_ten_calls_against_three_tokens_has_three_results_and_seven_errors() {
    let router = served(Rejection::default());
    let ids: Vec<Value> = (0..10)
        .map(|n| {
            if n % 2 == 0 {
                json!(n)
            } else {
                json!(format!("i{n}"))
            }
        })
        .collect();
    let mut batch: Vec<Value> = ids.iter().map(call).collect();
    batch.push(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let (response, answers) = send(&router, request(Some("2025-03-26"), &json!(batch))).await;

    assert_eq!(response.status(), StatusCode::OK);
    let answers = answers.as_array().unwrap();
    let of: Vec<_> = answers.iter().map(|answer| answer["id"].clone()).collect();
    assert_eq!(of, ids);
    let denied = answers
        .iter()
        .filter(|answer| answer["error"]["code"] == json!(-32029));
    assert_eq!(denied.count(), 7);
    assert_eq!(
        answers
            .iter()
            .filter(|answer| answer.get("result").is_some())
            .count(),
        3
    );
}

#[tokio::test]
async fn a_batch_is_only_what_the_protocol_says_it_is() {
    let router = served(Rejection::default());
    let of_two = json!([call(&json!(1)), call(&json!(2))]);
    for (version, body) in [
        (Some("2025-06-18"), of_two),
        (None, json!([])),
        (
            None,
            json!((0..101).map(|n| call(&json!(n))).collect::<Vec<_>>()),
        ),
    ] {
        let (response, answer) = send(&router, request(version, &body)).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(answer["error"]["code"], json!(-32600));
        assert_eq!(answer.get("id"), None);
    }
    let odd = json!([1, {"id": 7}, {"jsonrpc": "2.0", "id": 8, "method": "initialize"}]);
    let (_, answers) = send(&router, request(None, &odd)).await;
    let ids: Vec<_> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a.get("id").cloned())
        .collect();
    assert_eq!(ids, [None, Some(json!(7)), Some(json!(8))]);

    let notifications = json!([{"jsonrpc": "2.0", "method": "notifications/initialized"}]);
    let (response, _) = send(&router, request(None, &notifications)).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn lists_pings_and_completions_cost_nothing_and_prompts_and_resources_do() {
    let router = served(Rejection::default());
    let prompt =
        json!({"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": ""}});
    for (method, params) in [
        ("tools/list", json!({})),
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        ("prompts/list", json!({})),
        ("ping", json!({})),
        ("completion/complete", prompt),
    ] {
        for _ in 0..5 {
            let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
            let (_, answer) = send(&router, request(None, &body)).await;
            assert!(answer.get("result").is_some(), "{method}: {answer}");
        }
    }
    let mut denied = 0;
    for (method, params) in [
        ("tools/call", json!({"name": "t"})),
        ("prompts/get", json!({"name": "p"})),
        ("resources/read", json!({"uri": "file:///a"})),
        ("prompts/get", json!({"name": "p"})),
        ("resources/read", json!({"uri": "file:///a"})),
    ] {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let (_, answer) = send(&router, request(None, &body)).await;
        denied += usize::from(answer["error"]["code"] == json!(-32029));
    }
    assert_eq!(denied, 2);
}

#[tokio::test]
async fn who_is_not_known_gets_a_challenge_and_reaches_nothing() {
    let router = served(Rejection::default());
    let mut request = request(None, &call(&json!(1)));
    request.headers_mut().remove("x-test-user");
    let (response, _) = send(&router, request).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
}

#[tokio::test]
async fn protocols_from_2025_03_26_on_are_served() {
    let router = served(Rejection::default());
    for (asked, expected) in [
        ("2024-11-05", "2025-11-25"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
    ] {
        let params = json!({"protocolVersion": asked, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
        let (response, answer) = send(&router, request(None, &body)).await;
        assert_eq!(
            answer["result"]["protocolVersion"],
            json!(expected),
            "{answer}"
        );
        assert_eq!(response.headers().get("mcp-session-id"), None);
    }
}

#[tokio::test]
async fn readiness_is_what_it_is_told() {
    let (ready, watcher) = watch::channel(false);
    let router = router(Edge {
        ready: watcher,
        ..edge(Arc::new(Recorder::default()), Rejection::default())
    });
    let status = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        send(&router, request).await.0.status()
    };
    assert_eq!(status("/livez").await, StatusCode::OK);
    assert_eq!(status("/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    ready.send_replace(true);
    assert_eq!(status("/readyz").await, StatusCode::OK);
}
