use super::*;

/// What `/metrics` says.
async fn scraped(router: &Router) -> String {
    let scrape = Request::get("/metrics").body(Body::empty()).unwrap();
    let (response, body) = send(router, scrape).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        toolgate_telemetry::CONTENT_TYPE
    );
    body.as_str().unwrap().to_owned()
}

/// The counts of `vmcp_requests_total`, by labels.
async fn requests(router: &Router) -> Vec<String> {
    let text = scraped(router).await;
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("vmcp_requests_total"));
    let mut lines: Vec<_> = lines.map(str::to_owned).collect();
    lines.sort();
    lines
}

fn message(method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

#[tokio::test]
async fn messages_are_counted_by_method_and_what_became_of_them() {
    let router = served(Rejection::default());
    for _ in 0..5 {
        send(&router, request(None, &call(&json!(1)))).await;
    }
    for (method, params) in [
        ("tools/list", json!({})),
        ("resources/subscribe", json!({"uri": "file:///secret"})), // known, and not served
        ("ping", json!({})),
        ("resources/read", json!({"uri": "file:///secret"})),
        ("nonsense", json!({})),
        ("tools/delete", json!({})),
    ] {
        send(&router, request(None, &message(method, &params))).await;
    }
    let notification = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    send(&router, request(None, &notification)).await;
    send(&router, request(None, &json!("no message"))).await;
    let batch = json!([call(&json!(1)), message("ping", &json!({}))]);
    send(&router, request(None, &batch)).await;

    assert_eq!(
        requests(&router).await,
        [
            r#"{method="notifications/initialized",outcome="ok"} 1"#,
            r#"{method="other",outcome="error"} 3"#,
            r#"{method="ping",outcome="ok"} 2"#,
            r#"{method="resources/read",outcome="denied"} 1"#,
            r#"{method="resources/subscribe",outcome="error"} 1"#,
            r#"{method="tools/call",outcome="denied"} 3"#,
            r#"{method="tools/call",outcome="ok"} 3"#,
            r#"{method="tools/list",outcome="ok"} 1"#,
        ]
    );
    let text = scraped(&router).await;
    let count = r#"vmcp_request_duration_seconds_count{method="tools/call"} 6"#;
    assert!(text.lines().any(|line| line == count), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn a_denial_is_counted_as_one_in_whatever_form_it_is_shown() {
    let router = served(Rejection {
        form: Form::ToolResult,
        http_status: HttpStatus::TooManyRequests,
    });
    for _ in 0..4 {
        send(&router, request(None, &call(&json!(1)))).await;
    }
    assert_eq!(
        requests(&router).await,
        [
            r#"{method="tools/call",outcome="denied"} 1"#,
            r#"{method="tools/call",outcome="ok"} 3"#,
        ]
    );
}

#[tokio::test]
async fn callers_that_are_not_let_in_are_counted_by_reason_alone() {
    let router = served(Rejection::default());
    let mut nobody = request(None, &call(&json!(1)));
    nobody.headers_mut().remove("x-test-user");
    send(&router, nobody).await;
    assert_eq!(requests(&router).await, [""; 0]);
    let text = scraped(&router).await;
    assert!(text.contains("vmcp_unauthorized_total{reason=\"missing\"} 1\n"));
}

#[tokio::test]
async fn neither_subjects_nor_tools_nor_methods_add_series() {
    let router = served(Rejection::default());
    let as_user = async |n: usize| {
        let bodies = [
            message("tools/call", &json!({"name": format!("tool-{n}")})),
            message(&format!("method-{n}"), &json!({})),
        ];
        for body in bodies {
            let mut request = request(None, &body);
            let user = format!("user-{n}").parse().unwrap();
            request.headers_mut().insert("x-test-user", user);
            send(&router, request).await;
        }
        scraped(&router).await.lines().count()
    };
    let first = as_user(0).await;
    for n in 1..1_000 {
        assert_eq!(as_user(n).await, first);
    }
    assert_eq!(
        requests(&router).await,
        [
            r#"{method="other",outcome="error"} 1000"#,
            r#"{method="tools/call",outcome="ok"} 1000"#,
        ]
    );
}
