//! Many backends as one.

use std::time::Duration;

use rmcp::model::{
    ArgumentInfo, CallToolRequestParams, CallToolResponse, CompleteRequestParams,
    GetPromptRequestParams, ReadResourceRequestParams, Reference,
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use toolgate_limit::Identity;
use vmcp::{
    Vmcp, VmcpError,
    core::{Core, Timing},
};

use crate::backend::{HttpBackend, as_child, over_http, timing, url};

/// Whatever is waited for takes less.
const PATIENCE: Duration = Duration::from_secs(20);

async fn tools(core: &Core) -> Vec<String> {
    let listed = core.list_tools(&Identity::anonymous(), None).await.unwrap();
    listed
        .tools
        .into_iter()
        .map(|tool| tool.name.into_owned())
        .collect()
}

async fn settled(core: &Core) {
    let mut settled = core.settled();
    timeout(PATIENCE, settled.wait_for(|settled| *settled))
        .await
        .unwrap()
        .unwrap();
}

/// Waits until `core` lists `tool`, or no longer does.
async fn until_listed(core: &Core, tool: &str, is_listed: bool) {
    let wait = async {
        while tools(core).await.iter().any(|name| name == tool) != is_listed {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("the list changes");
}

async fn call(core: &Core, call: Value) -> Result<Value, VmcpError> {
    let call: CallToolRequestParams = serde_json::from_value(call).unwrap();
    match core.call_tool(&Identity::anonymous(), call).await? {
        CallToolResponse::Complete(result) => {
            let text = &result.content[0].as_text().unwrap().text;
            Ok(serde_json::from_str(text).unwrap())
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn names_have_a_prefix_and_lead_to_their_backend() {
    let (a, b) = (HttpBackend::start().await, HttpBackend::start().await);
    let core = Core::start(vec![over_http("a", a.url()), over_http("b", b.url())]);
    settled(&core).await;

    let names = tools(&core).await;
    assert_eq!(names.len(), 12);
    assert!(names.contains(&"a_echo".to_owned()) && names.contains(&"b_echo".to_owned()));

    let given = json!({"name": "b_echo", "arguments": {"x": [1]}, "_meta": {"traceparent": "t", "progressToken": 5}});
    let echoed = call(&core, given).await.unwrap();
    assert_eq!(echoed["name"], json!("echo"));
    assert_eq!(echoed["arguments"], json!({"x": [1]}));
    assert_eq!(echoed["meta"]["traceparent"], json!("t"));
    assert_ne!(echoed["meta"]["progressToken"], json!(5));
    assert_eq!((a.counter.calls(), b.counter.calls()), (0, 1));
}

#[tokio::test]
async fn prompts_resources_and_completions_are_routed_too() {
    let a = HttpBackend::start().await;
    let core = Core::start(vec![over_http("a", a.url())]);
    settled(&core).await;
    let me = Identity::anonymous();

    let prompts = core.list_prompts(&me, None).await.unwrap().prompts;
    assert_eq!(prompts[0].name, "a_greet");
    core.get_prompt(&me, GetPromptRequestParams::new("a_greet"))
        .await
        .unwrap();
    for uri in ["file:///greeting", "day://monday"] {
        core.read_resource(&me, ReadResourceRequestParams::new(uri))
            .await
            .unwrap();
    }
    let elsewhere = ReadResourceRequestParams::new("http://elsewhere");
    let unknown = core.read_resource(&me, elsewhere).await;
    assert!(matches!(unknown, Err(VmcpError::Unknown { .. })));
    for reference in [
        Reference::for_prompt("a_greet"),
        Reference::for_resource("day://{date}"),
    ] {
        let complete = CompleteRequestParams::new(reference, ArgumentInfo::new("x", ""));
        let completed = core.complete(&me, complete).await.unwrap();
        assert_eq!(completed.completion.values, ["x"]);
    }
}

#[tokio::test]
async fn a_child_process_is_a_backend() {
    let core = Core::start(vec![as_child("child")]);
    settled(&core).await;
    let echoed = call(&core, json!({"name": "child_echo", "arguments": {}}))
        .await
        .unwrap();
    assert_eq!(echoed["name"], json!("echo"));
}

#[tokio::test]
async fn a_backends_own_error_comes_through_as_it_is() {
    let a = HttpBackend::start().await;
    let core = Core::start(vec![over_http("a", a.url())]);
    settled(&core).await;
    let Err(VmcpError::Backend(error)) = call(&core, json!({"name": "a_fail"})).await else {
        panic!("no error of the backend");
    };
    assert_eq!((error.code.0, error.data), (-32123, Some(json!(7))));
}

#[tokio::test]
async fn a_backend_that_is_down_or_never_answers_does_not_keep_others_from_serving() {
    let up = HttpBackend::start().await;
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = HttpBackend::start().await.address;
    let core = Core::start(vec![
        over_http("mute", url(mute.local_addr().unwrap())),
        over_http("gone", url(gone)),
        over_http("up", up.url()),
    ]);
    until_listed(&core, "up_echo", true).await;
    assert_eq!(tools(&core).await.len(), 6);
    call(&core, json!({"name": "up_echo"})).await.unwrap();
    for name in ["mute_echo", "gone_echo"] {
        let error = call(&core, json!({"name": name})).await.unwrap_err();
        assert!(matches!(error, VmcpError::Unavailable { .. }), "{error}");
    }
    let error = call(&core, json!({"name": "nobody_echo"}))
        .await
        .unwrap_err();
    assert!(matches!(error, VmcpError::Unknown { .. }), "{error}");
}

#[tokio::test]
async fn a_backend_that_goes_is_missed_and_found_again_when_it_is_back() {
    let backend = HttpBackend::start().await;
    let address = backend.address;
    let core = Core::start(vec![over_http("a", backend.url())]);
    until_listed(&core, "a_echo", true).await;

    drop(backend);
    // What finds it out first, the closed stream or this call, does not matter.
    assert!(call(&core, json!({"name": "a_echo"})).await.is_err());
    until_listed(&core, "a_echo", false).await;

    let _back = HttpBackend::start_on(address).await;
    until_listed(&core, "a_echo", true).await;
    call(&core, json!({"name": "a_echo"})).await.unwrap();
}

#[tokio::test]
async fn a_tool_that_a_backend_announces_is_listed() {
    let backend = HttpBackend::start().await;
    let core = Core::start(vec![over_http("a", backend.url()), as_child("b")]);
    settled(&core).await;
    for (grow, more) in [("a_grow", "a_more"), ("b_grow", "b_more")] {
        let unknown = call(&core, json!({"name": more})).await;
        assert!(matches!(unknown, Err(VmcpError::Unknown { .. })));
        call(&core, json!({"name": grow})).await.unwrap();
        until_listed(&core, more, true).await;
        call(&core, json!({"name": more})).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_that_hangs_ends_at_its_deadline_and_holds_nobody_up() {
    let backend = HttpBackend::start().await;
    let mut settings = over_http("a", backend.url());
    settings.timing = Timing {
        request: Duration::from_millis(300),
        ..timing()
    };
    let core = Core::start(vec![settings]);
    settled(&core).await;
    let hanging = call(&core, json!({"name": "a_hang"}));
    let meanwhile = async {
        for _ in 0..10 {
            call(&core, json!({"name": "a_echo"})).await.unwrap();
        }
    };
    let (hung, ()) = tokio::join!(hanging, meanwhile);
    let error = hung.unwrap_err().to_string();
    assert_eq!(error, "backend a failed: no answer within 300ms");
}
