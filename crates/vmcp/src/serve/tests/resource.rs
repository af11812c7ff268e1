//! How a caller without a token learns where to get one.

use super::*;
use crate::auth::{KeysSettings, Oidc, OidcSettings};

fn of_oidc(resource: Option<&str>) -> Router {
    let oidc = Oidc::new(OidcSettings {
        keys: KeysSettings::of("https://id.example.com"),
        audience: "research".to_owned(),
        leeway: std::time::Duration::ZERO,
        resource: resource.map(str::to_owned),
    });
    router(Edge {
        authenticator: Arc::new(oidc.unwrap()),
        ..edge(Arc::new(Recorder::default()), Rejection::default())
    })
}

async fn get(router: &Router, path: &str) -> (StatusCode, Value) {
    let request = Request::get(path)
        .header("host", "localhost")
        .body(Body::empty())
        .unwrap();
    let (response, body) = send(router, request).await;
    (response.status(), body)
}

async fn challenge(router: &Router, token: Option<&str>) -> String {
    let mut request = request(None, &call(&json!(1)));
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    let (response, _) = send(router, request).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let challenge = &response.headers()[header::WWW_AUTHENTICATE];
    challenge.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_challenge_names_the_metadata_which_names_the_issuer() {
    let router = of_oidc(Some("https://mcp.example.com/team/mcp"));
    let url = "https://mcp.example.com/.well-known/oauth-protected-resource/team/mcp";
    assert_eq!(
        challenge(&router, None).await,
        format!("Bearer resource_metadata=\"{url}\"")
    );
    let invalid = challenge(&router, Some("abc")).await;
    assert!(invalid.starts_with("Bearer error=\"invalid_token\", error_description="));
    assert!(
        invalid.ends_with(&format!(", resource_metadata=\"{url}\"")),
        "{invalid}"
    );

    for path in ["", "/team/mcp"] {
        let path = format!("/.well-known/oauth-protected-resource{path}");
        let (status, metadata) = get(&router, &path).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(
            metadata,
            json!({
                "resource": "https://mcp.example.com/team/mcp",
                "authorization_servers": ["https://id.example.com"],
                "bearer_methods_supported": ["header"],
            })
        );
    }
    let (status, _) = get(&router, "/.well-known/oauth-protected-resource/mcp").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn of_a_server_whose_url_is_not_known_nothing_is_said() {
    let anonymous = Edge {
        authenticator: Arc::new(crate::auth::Anonymous::new()),
        ..edge(Arc::new(Recorder::default()), Rejection::default())
    };
    for router in [of_oidc(None), router(anonymous)] {
        for path in ["", "/mcp"] {
            let path = format!("/.well-known/oauth-protected-resource{path}");
            assert_eq!(get(&router, &path).await.0, StatusCode::NOT_FOUND);
        }
    }
    assert_eq!(challenge(&of_oidc(None), None).await, "Bearer");
}
