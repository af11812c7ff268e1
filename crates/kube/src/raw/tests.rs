use serde_json::json;

use super::*;

fn nested(depth: usize) -> String {
    format!("{}1{}", "[".repeat(depth), "]".repeat(depth))
}

fn list(spec: &str) -> String {
    format!(
        "{{\"metadata\": {{}}, \"items\": [{{\"metadata\": {{\"name\": \"a\", \"managedFields\": {}}}, \
         \"spec\": {spec}, \"other\": {}}}]}}",
        nested(300),
        nested(300),
    )
}

/// One object nested deeper than the reader of JSON goes kept a replica from ever listing its kind.
#[test]
fn an_object_that_is_nested_deep_does_not_hold_up_its_list() {
    let text = list(&format!(
        "{{\"podTemplateSpec\": {}, \"config\": {{\"rateLimiting\": {{}}, \"more\": {}}}}}",
        nested(300),
        nested(300),
    ));
    let list: kube::core::ObjectList<RawObject> = serde_json::from_str(&text).expect("read");
    let spec = list.items[0].spec.as_deref().expect("a spec");
    let read = read_spec(Kind::VirtualMcpServer, spec).expect("what is read is flat");
    assert_eq!(read, json!({"config": {"rateLimiting": {}}}));
    assert_eq!(list.items[0].metadata.name.as_deref(), Some("a"));
}

#[test]
fn what_is_read_and_nested_too_deep_is_an_error_of_that_object() {
    let text = list(&format!("{{\"tools\": {}}}", nested(300)));
    let list: kube::core::ObjectList<RawObject> = serde_json::from_str(&text).expect("read");
    let spec = list.items[0].spec.as_deref().expect("a spec");
    let error = read_spec(Kind::RateLimitPolicy, spec).expect_err("too deep");
    assert!(error.to_string().contains("recursion"), "{error}");
}

#[test]
fn an_event_of_a_watch_is_read_the_same_way() {
    let text = format!(
        "{{\"type\": \"ADDED\", \"object\": {{\"metadata\": {{\"name\": \"a\"}}, \"spec\": {}}}}}",
        nested(300)
    );
    let event: kube::core::WatchEvent<RawObject> = serde_json::from_str(&text).expect("read");
    assert!(matches!(event, kube::core::WatchEvent::Added(object) if object.spec.is_some()));
}
