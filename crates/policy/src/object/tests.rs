use serde_json::json;

use super::*;

fn read(kind: Kind, spec: &Json) -> ObjectManifest {
    read_object(kind, "team", "research", Some(spec))
}

#[test]
fn an_object_has_the_policy_that_its_manifest_has() {
    let spec = json!({
        "server": "search",
        "mode": "Shadow",
        "tools": [{"name": "fetch", "perUser": {"maxTokens": 10, "refillPeriod": "1m"}}],
    });
    let read = read(Kind::RateLimitPolicy, &spec);
    assert!(read.diagnostics.is_empty(), "{}", read.diagnostics);
    let text = format!(
        "{{apiVersion: toolgate.dev/v1alpha1, kind: RateLimitPolicy, \
          metadata: {{namespace: team, name: research}}, spec: {spec}}}"
    );
    let file = crate::read_text("p.yaml".as_ref(), &text);
    let shown = |policy: &Policy| format!("{policy:?}");
    assert_eq!(
        read.policy.as_ref().map(shown),
        Some(shown(&file.policies[0].0))
    );
    assert_eq!(
        read.server.map(|server| server.to_string()).as_deref(),
        Some("team/search")
    );
}

#[test]
fn every_error_names_the_object_and_the_field() {
    let spec = json!({
        "global": {"maxTokens": 0, "refillPeriod": "1m"},
        "tools": [
            {"name": "fetch", "perUser": {"maxTokens": 10}},
            {"name": "a b", "global": {"maxTokens": 10, "refillPeriod": "never"}},
        ],
        "tols": [],
    });
    let read = read(Kind::RateLimitPolicy, &spec);
    assert!(read.policy.is_none());
    assert!(read.server.is_some());
    let fields: Vec<_> = read.diagnostics.iter().map(|one| one.field()).collect();
    assert_eq!(
        fields,
        [
            Some("spec.global.maxTokens"),
            Some("spec.tols"),
            Some("spec.tools[0].perUser"),
            Some("spec.tools[1].global.refillPeriod"),
            Some("spec.tools[1].name"),
        ]
    );
    let shown = read.diagnostics.iter().next().expect("first").to_string();
    assert_eq!(
        shown,
        "RateLimitPolicy team/research: spec.global.maxTokens: error: maxTokens must be between 1 \
         and 2147483647, not 0"
    );
}

#[test]
fn an_error_about_two_fields_names_both_by_their_paths() {
    let quota = json!({"maxTokens": 1, "refillPeriod": "1s"});
    let spec = json!({
        "sessionStorage": {"provider": "redis"},
        "rateLimiting": {
            "tools": [{"name": "t", "global": quota}, {"name": "t", "global": quota}],
        },
    });
    let read = read(Kind::McpServer, &spec);
    let shown = read.diagnostics.to_string();
    assert!(
        shown.contains("spec.rateLimiting.tools[1].name: error:"),
        "{shown}"
    );
    assert!(
        shown.ends_with("first in spec.rateLimiting.tools[0].name"),
        "{shown}"
    );
}

#[test]
fn an_object_without_a_spec_is_an_error_of_the_object_as_a_whole() {
    let read = read_object(Kind::RateLimitPolicy, "team", "research", None);
    assert_eq!(
        read.diagnostics.to_string(),
        "RateLimitPolicy team/research: error: spec is missing"
    );
    let toolhive = read_object(Kind::VirtualMcpServer, "team", "research", None);
    assert!(toolhive.diagnostics.is_empty() && toolhive.server.is_none());
}
