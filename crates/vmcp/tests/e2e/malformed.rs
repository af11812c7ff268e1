//! What a backend lists that no model can hold costs it that item, and nothing else.

use rmcp::model::CallToolRequestParams;
use toolgate_limit::Identity;
use vmcp::Vmcp;

use crate::{log::Log, raw::RawBackend, wait::core_of};

/// One such tool took its backend down, and the log named neither.
#[tokio::test]
async fn an_odd_tool_prompt_or_resource_is_left_out_and_named_in_the_log() {
    let log = Log::default();
    let _captured = log.capture();
    let backend = RawBackend::start().await;
    backend.result(
        "tools/list",
        r#"{"tools":[{"name":"bad","inputSchema":true},{"name":"echo","inputSchema":{"type":"object"}},
            {"name":"worse","inputSchema":{},"annotations":{"readOnlyHint":"yes"}}]}"#,
    );
    backend.result("prompts/list", r#"{"prompts":[{"name":7},{"name":"p"}]}"#);
    backend.result(
        "resources/list",
        r#"{"resources":[{"uri":"a://odd"},{"uri":"a://b","name":"b"}]}"#,
    );
    backend.result("resources/templates/list", r#"{"resourceTemplates":null}"#);
    let core = core_of(backend.address).await;
    let me = Identity::anonymous();
    let tools = core.list_tools(&me, None).await.unwrap().tools;
    let names: Vec<_> = tools.iter().map(|tool| &*tool.name).collect();
    assert_eq!(names, ["a_echo"]);
    let prompts = core.list_prompts(&me, None).await.unwrap().prompts;
    assert_eq!(prompts[0].name, "a_p");
    let resources = core.list_resources(&me, None).await.unwrap().resources;
    assert_eq!((resources.len(), &*resources[0].uri), (1, "a://b"));
    core.call_tool(&me, CallToolRequestParams::new("a_echo"))
        .await
        .unwrap();

    let log = log.text();
    for line in [
        r#"these cannot be read and are left out: 2, as ["bad (inputSchema: "#,
        r#""worse (annotations"#,
        r##"these cannot be read and are left out: 1, as ["#1 (name: "##,
        r#"these cannot be read and are left out: 1, as ["a://odd (.: missing field `name`)"]"#,
    ] {
        assert!(log.contains(line), "{line}\n{log}");
    }
    assert!(log.contains("backend=a"), "{log}");
}

/// Twice the tools, each name twice.
#[tokio::test]
async fn a_page_that_comes_again_is_not_listed_again() {
    for next in ["", "x"] {
        let backend = RawBackend::start().await;
        let list = format!(
            r#"{{"tools":[{{"name":"a","inputSchema":{{}}}},{{"name":"b","inputSchema":{{}}}}],"nextCursor":"{next}"}}"#
        );
        backend.result("tools/list", &list);
        let core = core_of(backend.address).await;
        let listed = core.list_tools(&Identity::anonymous(), None).await;
        assert_eq!(listed.unwrap().tools.len(), 2, "{next:?}");
    }
}

/// Such a backend was down.
#[tokio::test]
async fn content_types_are_read_in_any_case() {
    for (json, events) in [
        ("Application/JSON", "Text/Event-Stream"),
        (
            "APPLICATION/json ; charset=UTF-8",
            "text/EVENT-stream;charset=utf-8",
        ),
        ("", "text/event-stream"),
    ] {
        let backend = RawBackend::start().await;
        *backend.types.lock().unwrap() = Some((json, events));
        let core = core_of(backend.address).await;
        for as_events in [false, true] {
            *backend.as_events.lock().unwrap() = as_events;
            core.call_tool(&Identity::anonymous(), CallToolRequestParams::new("a_echo"))
                .await
                .unwrap();
        }
    }
}
