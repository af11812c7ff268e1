//! From where requests may come.

use super::*;

const APP: &str = "https://app.example";

/// Served to pages of [`APP`] alone, and what has run.
fn of_app() -> (Router, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let edge = Edge {
        allowed_origins: vec![
            APP.parse().unwrap(),
            "http://localhost:6274".parse().unwrap(),
        ],
        ..edge(recorder.clone(), Rejection::default())
    };
    (router(edge), recorder)
}

fn with(headers: &[(&'static str, &str)], body: &Value) -> Request<Body> {
    let mut request = request(Some("2025-03-26"), body);
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    request
}

/// A page of any site could call the tools of whoever looked at it.
#[tokio::test]
async fn pages_of_other_sites_are_refused_and_run_nothing() {
    let (of_app, of_app_ran) = of_app();
    let ran = Arc::new(Recorder::default());
    let of_none = router(edge(ran.clone(), Rejection::default()));
    for origins in [
        &["http://evil.example"][..],
        &["null"],
        &["https://app.example.evil.example"],
        &["http://app.example"],
        &["https://app.example:8443"],
        &["https://app.example/"],
        &[""],
        &["http://localhost"],
        &[APP, "http://evil.example"],
        &["http://evil.example", APP],
    ] {
        let headers: Vec<_> = origins.iter().map(|origin| ("origin", *origin)).collect();
        for body in [call(&json!(1)), json!([call(&json!(1))])] {
            for router in [&of_app, &of_none] {
                let (response, answer) = send(router, with(&headers, &body)).await;
                assert_eq!(response.status(), StatusCode::FORBIDDEN, "{origins:?}");
                assert_eq!(answer["error"]["code"], json!(-32600), "{answer}");
                assert_eq!(answer.get("id"), None);
                let allowed = response.headers().get("access-control-allow-origin");
                assert_eq!(allowed, None);
            }
        }
    }
    assert_eq!(of_app_ran.methods(), [""; 0]);
    assert_eq!(ran.methods(), [""; 0]);
    let (response, _) = send(&of_none, with(&[], &call(&json!(1)))).await;
    assert_eq!(
        response.status(),
        StatusCode::OK,
        "who is no page has no Origin"
    );
}

#[tokio::test]
async fn pages_of_listed_origins_are_served_and_may_read_the_answer() {
    let (router, ran) = of_app();
    for origin in [APP, "http://localhost:6274"] {
        let (response, answer) = send(&router, with(&[("origin", origin)], &call(&json!(1)))).await;
        assert_eq!(response.status(), StatusCode::OK, "{answer}");
        assert_eq!(response.headers()["access-control-allow-origin"], origin);
        assert_eq!(response.headers()["vary"], "origin");
        let exposed = &response.headers()["access-control-expose-headers"];
        assert!(exposed.to_str().unwrap().contains("www-authenticate"));
    }
    assert_eq!(ran.methods().len(), 2);
    let mut request = with(&[("origin", APP)], &call(&json!(1)));
    request.headers_mut().remove("x-test-user");
    let (response, _) = send(&router, request).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()["access-control-allow-origin"], APP);
}

/// Browsers send no token with the question whether they may send one.
#[tokio::test]
async fn a_browser_is_told_what_it_may_send_without_a_token() {
    let (router, ran) = of_app();
    let ask = |origin: &str, path: &str| {
        Request::options(path)
            .header("host", "localhost")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,mcp-param-region",
            )
            .body(Body::empty())
            .unwrap()
    };
    for path in ["/mcp", "/.well-known/oauth-protected-resource"] {
        let (response, _) = send(&router, ask(APP, path)).await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        let headers = response.headers();
        assert_eq!(headers["access-control-allow-origin"], APP);
        assert_eq!(
            headers["access-control-allow-headers"],
            "authorization,mcp-param-region"
        );
        let methods = headers["access-control-allow-methods"].to_str().unwrap();
        assert!(methods.contains("POST"), "{methods}");
    }
    let (response, _) = send(&router, ask("https://evil.example", "/mcp")).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(ran.methods(), [""; 0]);
}

/// Of two hosts a proxy believes one, and this server the other (RFC 9112, section 3.2).
#[tokio::test]
async fn a_request_is_for_one_host() {
    let ran = Arc::new(Recorder::default());
    let router = router(Edge {
        allowed_hosts: vec!["localhost".parse().unwrap(), "::1".parse().unwrap()],
        ..edge(ran.clone(), Rejection::default())
    });
    for (target, hosts, status) in [
        (
            "/mcp",
            &["localhost", "localhost"][..],
            StatusCode::BAD_REQUEST,
        ),
        (
            "/mcp",
            &["localhost", "evil.example"],
            StatusCode::BAD_REQUEST,
        ),
        ("/mcp", &[], StatusCode::BAD_REQUEST),
        ("/mcp", &["user@localhost"], StatusCode::BAD_REQUEST),
        ("/mcp", &["local host"], StatusCode::BAD_REQUEST),
        (
            "http://evil.example/mcp",
            &["localhost"],
            StatusCode::BAD_REQUEST,
        ),
        (
            "http://localhost:81/mcp",
            &["localhost"],
            StatusCode::BAD_REQUEST,
        ),
        ("/mcp", &["evil.example"], StatusCode::FORBIDDEN),
        (
            "http://evil.example/mcp",
            &["evil.example"],
            StatusCode::FORBIDDEN,
        ),
        ("/mcp", &["LOCALHOST:4483"], StatusCode::OK),
        ("/mcp", &["[::1]:4483"], StatusCode::OK),
        ("http://localhost/mcp", &["localhost:80"], StatusCode::OK),
    ] {
        let mut request = request(None, &call(&json!(1)));
        *request.uri_mut() = target.parse().unwrap();
        request.headers_mut().remove("host");
        for host in hosts {
            request.headers_mut().append("host", host.parse().unwrap());
        }
        let (response, answer) = send(&router, request).await;
        assert_eq!(response.status(), status, "{target} {hosts:?}: {answer}");
    }
    assert_eq!(ran.methods().len(), 3);
}

/// A page whose name leads to this machine read `/metrics`: what a page only reads of its own site has no
/// `Origin`.
#[tokio::test]
async fn probes_and_metrics_on_loopback_are_for_addresses_and_listed_hosts() {
    let mut admin_hosts = AllowedHost::of_listener("127.0.0.1".parse().unwrap());
    admin_hosts.push("proxy.example".parse().unwrap());
    let ran = Arc::new(Recorder::default());
    let on_loopback = router(Edge {
        admin_hosts,
        ..edge(ran.clone(), Rejection::default())
    });
    let of_all = router(Edge {
        admin_hosts: AllowedHost::of_listener("0.0.0.0".parse().unwrap()),
        ..edge(ran, Rejection::default())
    });
    for (hosts, is_served) in [
        (&["evil.example"][..], false),
        (&["evil.example:4483"], false),
        (&["localhost.evil.example"], false),
        (&["127.0.0.1.evil.example"], false),
        (&["127.0.0.1", "evil.example"], false),
        (&["127.0.0.1:4483"], true),
        (&["10.1.2.3"], true),
        (&["[fd00::1]:4483"], true),
        (&["localhost:4483"], true),
        (&["proxy.example"], true),
        (&[], true),
    ] {
        for path in ["/metrics", "/readyz", "/livez"] {
            let ask = || {
                let mut request = Request::get(path).body(Body::empty()).unwrap();
                for host in hosts {
                    request.headers_mut().append("host", host.parse().unwrap());
                }
                request
            };
            let (response, text) = send(&on_loopback, ask()).await;
            let expected = if is_served { 200 } else { 403 };
            assert_eq!(response.status(), expected, "{path} {hosts:?}: {text}");
            assert!(is_served || !text.to_string().contains("vmcp_"), "{text}");
            assert_eq!(
                send(&of_all, ask()).await.0.status(),
                200,
                "{path} {hosts:?}"
            );
        }
    }
}
