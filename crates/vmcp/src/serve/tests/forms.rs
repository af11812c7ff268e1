//! One form for everything that is refused.

use super::*;

fn with_body(version: Option<&str>, body: impl Into<Body>) -> Request<Body> {
    let mut request = request(version, &json!(null));
    *request.body_mut() = body.into();
    request
}

/// They were answered with -32601 and the text "tools/call".
#[tokio::test]
async fn bad_parameters_of_a_known_method_are_named() {
    let recorder = Arc::new(Recorder::default());
    let router = router(edge(recorder.clone(), Rejection::default()));
    for (method, params, field) in [
        ("tools/call", json!({}), "`name`"),
        ("tools/call", json!({"name": 5}), "params.name"),
        (
            "tools/call",
            json!({"name": "a", "arguments": "x"}),
            "params.arguments",
        ),
        (
            "tools/call",
            json!({"name": "a", "_meta": 1}),
            "params._meta",
        ),
        ("tools/call", json!([1]), "params: must be an object"),
        ("tools/call", json!("x"), "params: must be an object"),
        ("prompts/get", json!({"arguments": {}}), "`name`"),
        ("resources/read", json!({"uri": 1}), "params.uri"),
        ("tools/list", json!([1]), "params: must be an object"),
        ("tools/list", json!({"_meta": 1}), "params._meta"),
        ("completion/complete", json!({}), "params"),
        ("initialize", json!({}), "`protocolVersion`"),
    ] {
        for id in [json!(1), json!(1.0)] {
            let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
            let (_, answer) = send(&router, request(Some("2025-06-18"), &body)).await;
            assert_eq!(answer["error"]["code"], json!(-32602), "{body}: {answer}");
            assert_eq!(answer["id"], id);
            let message = answer["error"]["message"].as_str().unwrap();
            assert!(message.contains(field), "{body}: {answer}");
        }
    }
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call"});
    let (_, answer) = send(&router, request(None, &body)).await;
    assert_eq!(answer["error"]["message"], json!("params: missing"));
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "no/such/method", "params": {}});
    let (_, answer) = send(&router, request(None, &body)).await;
    assert_eq!(answer["error"]["code"], json!(-32601));
    assert_eq!(recorder.methods(), [""; 0]);
}

/// It was 415 with a text for people.
#[tokio::test]
async fn what_is_no_json_rpc_is_a_json_rpc_error_with_status_400() {
    let router = served(Rejection::default());
    for (body, code, id) in [
        ("", -32700, None),
        ("{", -32700, None),
        ("nonsense", -32700, None),
        ("[{]", -32700, None),
        (
            "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}",
            -32700,
            None,
        ),
        ("1", -32600, None),
        ("{}", -32600, None),
        (
            r#"{"jsonrpc":"1.0","id":7,"method":"ping"}"#,
            -32600,
            Some(json!(7)),
        ),
        (r#"{"jsonrpc":"2.0","id":8}"#, -32600, Some(json!(8))),
    ] {
        let (response, answer) = send(&router, with_body(None, body)).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(answer["error"]["code"], json!(code), "{body}: {answer}");
        assert_eq!(answer.get("id"), id.as_ref(), "{body}");
    }
}

/// Batches were answered with 200 and "not a JSON-RPC request".
#[tokio::test]
async fn headers_that_are_refused_are_refused_of_a_batch_too() {
    let recorder = Arc::new(Recorder::default());
    let router = router(Edge {
        allowed_hosts: vec!["localhost".parse().unwrap()],
        ..edge(recorder.clone(), Rejection::default())
    });
    for (name, value, status) in [
        ("host", "evil.example", StatusCode::FORBIDDEN),
        (
            "content-type",
            "text/plain",
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        ("accept", "text/html", StatusCode::NOT_ACCEPTABLE),
    ] {
        for body in [call(&json!(1)), json!([call(&json!(1)), call(&json!(2))])] {
            let mut request = request(Some("2025-03-26"), &body);
            request.headers_mut().insert(name, value.parse().unwrap());
            let (response, answer) = send(&router, request).await;
            assert_eq!(response.status(), status, "{name}: {answer}");
        }
    }
    assert_eq!(recorder.methods(), [""; 0]);
}

/// Many clients name one form, or any, or none; all were answered with 406.
#[tokio::test]
async fn a_client_that_takes_one_form_has_its_answer_in_it() {
    let router = served(Rejection::default());
    let ping = json!({"jsonrpc": "2.0", "id": "é", "method": "ping"});
    let forms = ["*/*", "application/*, text/*", "application/json", ""];
    for body in [ping.clone(), json!([ping])] {
        for form in forms {
            let mut request = request(Some("2025-03-26"), &body);
            if form.is_empty() {
                request.headers_mut().remove("accept");
            } else {
                let form = form.parse().unwrap();
                request.headers_mut().insert("accept", form);
            }
            let (response, answer) = send(&router, request).await;
            assert_eq!(response.status(), StatusCode::OK, "{form}: {answer}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
            let answer = answer.get(0).unwrap_or(&answer);
            assert_eq!(answer["id"], json!("é"), "{form}");
        }
        let mut request = request(Some("2025-03-26"), &body);
        let form = "text/event-stream".parse().unwrap();
        request.headers_mut().insert("accept", form);
        let (response, answer) = send(&router, request).await;
        assert_eq!(response.status(), StatusCode::OK, "{answer}");
        let kind = &response.headers()[header::CONTENT_TYPE];
        assert_eq!(kind, "text/event-stream");
        let event = answer.as_str().unwrap();
        let answer = event.strip_prefix("event: message\ndata: ").unwrap();
        let answer: Value = serde_json::from_str(answer.strip_suffix("\n\n").unwrap()).unwrap();
        assert_eq!(answer.get(0).unwrap_or(&answer)["id"], json!("é"));
    }
}

/// The setting is of denials that are JSON-RPC errors, which those of prompts always are.
#[tokio::test]
async fn a_denied_prompt_has_the_status_429_where_denied_tool_calls_are_results() {
    let router = served(Rejection {
        form: Form::ToolResult,
        http_status: HttpStatus::TooManyRequests,
    });
    for _ in 0..3 {
        send(&router, request(None, &call(&json!(1)))).await;
    }
    let (response, answer) = send(&router, request(None, &call(&json!(1)))).await;
    assert_eq!(response.status(), StatusCode::OK, "{answer}");
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "prompts/get", "params": {"name": "p"}});
    let (response, answer) = send(&router, request(None, &body)).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS, "{answer}");
    assert_eq!(response.headers()[header::RETRY_AFTER], "20");
    assert_eq!(answer["error"]["code"], json!(-32029));
}

/// One batch of 100 calls was answered with 333 MB.
#[tokio::test]
async fn the_answers_to_a_batch_have_a_bound_and_what_is_beyond_does_not_run() {
    let mut tool = rmcp::model::Tool::default();
    tool.description = Some("x".repeat(1024 * 1024).into());
    let recorder = Arc::new(Recorder::with_tools(vec![tool]));
    let router = router(edge(recorder.clone(), Rejection::default()));
    let list = |id| json!({"jsonrpc": "2.0", "id": id, "method": "tools/list"});
    let batch: Vec<_> = (0..100).map(list).collect();
    let (response, answers) = send(&router, request(None, &json!(batch))).await;
    assert_eq!(response.status(), StatusCode::OK);
    let answers = answers.as_array().unwrap();
    let ids: Vec<_> = answers.iter().map(|answer| answer["id"].clone()).collect();
    assert_eq!(ids, (0..100).map(|id| json!(id)).collect::<Vec<_>>());
    let results = answers.iter().filter(|a| a.get("result").is_some()).count();
    assert!((16..=24).contains(&results), "{results}");
    assert_eq!(recorder.methods().len(), results);
    let refused = answers
        .iter()
        .filter(|a| a["error"]["code"] == json!(-32600));
    assert_eq!(refused.count(), 100 - results);
}
