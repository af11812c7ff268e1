use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::*;

/// Ids as JSON writes them, each of which an answer must carry to the letter.
const IDS: [&str; 17] = [
    "1",
    "-1",
    "-0",
    "1.0",
    "1.50",
    "1e3",
    "1E400",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "-123456789012345678901234567890",
    r#""two""#,
    r#""""#,
    r#""9223372036854775808""#,
    r#""\u00e9\ud83d\ude00""#,
    r#""a\/b\u0022""#,
    "\"\u{e9}\"",
];

/// The HTTP status and the text that comes back.
async fn answer(router: &Router, version: &str, body: String) -> (StatusCode, String) {
    let mut request = request(Some(version), &json!(null));
    if version == "2026-07-28" {
        let headers = request.headers_mut();
        headers.insert("mcp-method", "tools/call".parse().unwrap());
        headers.insert("mcp-name", "echo".parse().unwrap());
    }
    *request.body_mut() = Body::from(body);
    let service = tower_service::Service::call(&mut router.clone(), request);
    let (parts, body) = service.await.unwrap().into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    (parts.status, String::from_utf8(body.to_vec()).unwrap())
}

/// The members of one answer, as they stand in it.
fn members(answer: &str) -> BTreeMap<String, &RawValue> {
    serde_json::from_str(answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

fn id_of(answer: &str) -> Option<&str> {
    members(answer).get("id").map(|id| id.get())
}

fn tool_call(id: &str) -> String {
    let meta = r#"{"io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {}}"#;
    format!(
        r#"{{ "method": "tools/call", "id" : {id} , "jsonrpc": "2.0",
            "params": {{"name": "echo", "arguments": {{"id": 1.0}}, "_meta": {meta}}} }}"#
    )
}

#[tokio::test]
async fn every_id_comes_back_as_it_came_with_results_denials_and_errors() {
    let version = "2026-07-28";
    for id in IDS {
        let router = served(Rejection::default());
        for _ in 0..3 {
            let (status, answer) = answer(&router, version, tool_call(id)).await;
            assert_eq!(status, StatusCode::OK);
            assert_eq!(id_of(&answer), Some(id));
            assert!(members(&answer).contains_key("result"), "{answer}");
        }
        let (_, denied) = answer(&router, version, tool_call(id)).await;
        assert_eq!(id_of(&denied), Some(id));
        assert!(denied.contains("429"), "{denied}");

        for method in ["tools/list", "ping", "no/such/method"] {
            let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#);
            let (_, answer) = answer(&router, "2025-11-25", body).await;
            assert_eq!(id_of(&answer), Some(id), "{method}: {answer}");
        }
    }
}

#[tokio::test]
async fn an_odd_id_changes_nothing_of_what_is_asked() {
    let recorder = Arc::new(Recorder::default());
    let router = router(edge(recorder.clone(), Rejection::default()));
    for id in ["1", "1.0"] {
        let body = tool_call(id);
        answer(&router, "2026-07-28", body).await;
    }
    let seen = recorder.seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0].2["arguments"], json!({"id": 1.0}));
}

#[tokio::test]
async fn every_id_comes_back_from_a_batch_as_it_came() {
    let router = served(Rejection::default());
    let calls: Vec<_> = IDS
        .iter()
        .map(|id| {
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo"}}}}"#
            )
        })
        .collect();
    let body = format!("[{}]", calls.join(","));
    let (status, answers) = answer(&router, "2025-03-26", body).await;
    assert_eq!(status, StatusCode::OK);
    let answers: Vec<&RawValue> = serde_json::from_str(&answers).unwrap();
    let ids: Vec<_> = answers.iter().map(|answer| id_of(answer.get())).collect();
    assert_eq!(ids, IDS.map(Some));
    let results = answers
        .iter()
        .filter(|answer| members(answer.get()).contains_key("result"));
    assert_eq!(results.count(), 3);
}

#[tokio::test]
async fn what_is_no_id_of_mcp_is_refused_and_runs_nothing() {
    let recorder = Arc::new(Recorder::default());
    let router = router(edge(recorder.clone(), Rejection::default()));
    for id in ["null", "true", "[1]", r#"{"a":1}"#] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list"}}"#);
        let (status, single) = answer(&router, "2025-03-26", body.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(id_of(&single), Some(id));
        assert!(single.contains("-32600"), "{single}");
        let (_, batch) = answer(&router, "2025-03-26", format!("[{body}]")).await;
        assert_eq!(batch, format!("[{single}]"));
    }
    assert_eq!(recorder.methods(), [""; 0]);
}

#[tokio::test]
async fn where_no_id_came_none_goes_back() {
    let router = served(Rejection::default());
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let (status, answer_) = answer(&router, "2025-11-25", notification.to_owned()).await;
    assert_eq!((status, answer_.as_str()), (StatusCode::ACCEPTED, ""));
    let (status, refused) = answer(&router, "2025-03-26", "[1]".to_owned()).await;
    assert_eq!(status, StatusCode::OK);
    let refused: Vec<&RawValue> = serde_json::from_str(&refused).unwrap();
    assert_eq!(id_of(refused[0].get()), None);
}

/// Bytes that are no UTF-8, where nobody looked: the answer said that parameters were missing, and
/// with an odd id the message was served.
#[tokio::test]
async fn a_body_that_is_not_utf8_throughout_is_no_json_whatever_its_id() {
    let router = served(Rejection::default());
    for id in ["1", "1.0"] {
        let mut body =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"x":"_","method":"ping"}}"#).into_bytes();
        let at = body.iter().position(|byte| *byte == b'_').unwrap();
        body[at] = 0xff;
        let mut request = request(Some("2025-11-25"), &json!(null));
        *request.body_mut() = Body::from(body);
        let (response, answer) = send(&router, request).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(answer["error"]["code"], json!(-32700), "{answer}");
    }
}

/// In a batch, `initialize` without an id was answered as if it were a request.
#[tokio::test]
async fn a_notification_in_a_batch_has_no_answer_even_if_it_is_refused() {
    let router = served(Rejection::default());
    let body = r#"[{"jsonrpc":"2.0","method":"initialize","params":{}}]"#;
    let (status, answer) = answer(&router, "2025-03-26", body.to_owned()).await;
    assert_eq!((status, answer.as_str()), (StatusCode::ACCEPTED, ""));
}
